"""Whether the server can be reached, is the right one, and takes this party for what it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

from pydantic import ValidationError

import federant
from federant.link import HttpCaller, LinkConfigError, LinkError, LinkRefused, checked_url
from federant.link.http import Answer
from federant.link.identity import Role
from federant.link.messages import (
    API_PREFIX,
    LINK_PREFIX,
    SITE_HEADER,
    VERSION,
    ErrorBody,
    MissingReply,
    MissingRequest,
)
from federant.link.operator_messages import HealthReply, SitesReply
from federant.link.proxy import LinkProxyError, proxy_for
from federant.link.tls import LinkTlsError

from .findings import Finding, ok, problem, warning
from .subject import Subject
from .way import SECONDS, look_at_clock, look_at_way


def look_at_network(subject: Subject, *, speak: bool = True) -> Iterator[Finding]:
    """What follows from the environment, the server's name, its port, and what it answers.

    Unless one is to ``speak`` to it, only the way there is looked at.
    """
    if subject.server is None:
        return
    try:
        url = checked_url(subject.server)
        proxy = proxy_for(url) if url.startswith("https:") else None
    except LinkConfigError as error:
        yield problem("address", str(error))
        return
    way = list(look_at_way(url, proxy, "server", _start(url, subject.role)))
    yield from way
    if not speak or any(finding.advice for finding in way):
        return
    site = subject.site.name if subject.site else subject.kit.identity.name if subject.kit else ""
    headers = {SITE_HEADER: site} if subject.role is Role.SITE else {}
    try:
        with closing(
            HttpCaller(url, headers, kit=subject.kit, connect_seconds=SECONDS, read_seconds=SECONDS)
        ) as http:
            yield from _spoken_to(http, subject)
    except LinkConfigError as error:
        yield problem("address", str(error))


def _start(url: str, role: Role | None) -> str:
    if role is Role.SERVER:
        return 'start the server ("federant server")'
    parts = urlsplit(url)
    return (
        f"is the server running? Ask for an opening outward to TCP port {parts.port} of "
        f"{parts.hostname}"
    )


def _spoken_to(http: HttpCaller, subject: Subject) -> Iterator[Finding]:
    before = time.time()
    try:
        answer = http.look("/health/ready")
    except LinkTlsError as error:
        yield problem("TLS", str(error))
        return
    except LinkProxyError as error:
        yield problem("proxy", str(error))
        return
    except LinkError as error:
        yield problem("server", str(error))
        return
    after = time.time()
    if http.url.startswith("https:"):
        yield ok("TLS", f"the server of {_federation(subject)} answers")
    yield _health(answer, http.url)
    yield from look_at_clock(answer.headers.get("date", ""), before, after, "server")
    yield from _welcome(http, subject)


def _federation(subject: Subject) -> str:
    return subject.kit.identity.federation if subject.kit else "?"


def _health(answer: Answer, url: str) -> Finding:
    try:
        health = HealthReply.model_validate_json(answer.body)
    except ValidationError:
        pass
    else:
        found = f"{health.status}, federant {health.version}"
        if health.version == federant.__version__:
            return ok("server", found)
        return warning(
            "server",
            f"{found}, and here is federant {federant.__version__}",
            "install the same version on both sides when you can",
        )
    try:
        error = ErrorBody.model_validate_json(answer.body)
    except ValidationError:
        return problem(
            "server",
            f"what answers at {url} (status {answer.status}) is no federant server",
            "check host and port",
        )
    return warning("server", f"not ready: {error.message}", "look again in a minute")


def _welcome(http: HttpCaller, subject: Subject) -> Iterator[Finding]:
    """Whether the server lets this party do what it is for; nothing is changed by the question."""
    try:
        if subject.role is Role.SITE:
            path = f"{LINK_PREFIX}/blobs/missing"
            http.call("POST", path, MissingReply, MissingRequest(blobs=()))
        elif subject.role is Role.OPERATOR:
            http.call("GET", f"{API_PREFIX}/sites", SitesReply)
        else:
            return
    except LinkRefused as error:
        yield problem("admission", f"the server refuses this party: {error.code}: {error.message}")
    except LinkError as error:
        yield problem("admission", str(error))
    else:
        who = subject.kit.identity.title if subject.kit else f"{subject.role} without TLS"
        yield ok("admission", f"the server takes {who}, and speaks link version {VERSION}")
