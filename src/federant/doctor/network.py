"""Whether the server can be reached, is the right one, and takes this party for what it is."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import Final
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
from federant.link.proxy import LinkProxyError, Proxy, proxy_for
from federant.link.tls import LinkTlsError

from .findings import Finding, ok, problem, warning
from .subject import Subject

_SECONDS: Final = 10.0
"""How long each try may take."""
_CLOCK_SECONDS: Final = 5.0
"""By how much two clocks may differ without a word."""


def look_at_network(subject: Subject) -> Iterator[Finding]:
    """What follows from the environment, the server's name, its port, and what it answers."""
    if subject.server is None:
        return
    try:
        url = checked_url(subject.server)
        proxy = proxy_for(url) if url.startswith("https:") else None
    except LinkConfigError as error:
        yield problem("address", str(error))
        return
    yield _proxy(proxy, url)
    if proxy is None:
        reached = list(_dialled(url, subject.role))
        yield from reached
        if any(finding.advice for finding in reached):
            return
    site = subject.site.name if subject.site else subject.kit.identity.name if subject.kit else ""
    headers = {SITE_HEADER: site} if subject.role is Role.SITE else {}
    try:
        with closing(
            HttpCaller(
                url, headers, kit=subject.kit, connect_seconds=_SECONDS, read_seconds=_SECONDS
            )
        ) as http:
            yield from _spoken_to(http, subject)
    except LinkConfigError as error:
        yield problem("address", str(error))


def _proxy(proxy: Proxy | None, url: str) -> Finding:
    if proxy is not None:
        as_whom = ", with a name and a password" if proxy.user is not None else ""
        return ok("proxy", f"{url} is reached through {proxy.url} ({proxy.variable}){as_whom}")
    names = [name for name in ("https_proxy", "HTTPS_PROXY") if os.environ.get(name)]
    if names:
        return ok("proxy", f"{url} is reached without the one in {names[0]}")
    return ok("proxy", "none: the environment names none in https_proxy")


def _dialled(url: str, role: Role | None) -> Iterator[Finding]:
    """A finding with an advice ends it: nothing that comes after can work."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        yield problem(
            "DNS",
            f"the name {host} of the server is not known here: {error}",
            "ask for its right name or address, or for a proxy (https_proxy) that knows it",
        )
        return
    addresses = ", ".join(dict.fromkeys(str(each[4][0]) for each in found))
    yield ok("DNS", f"{host} is {addresses}")
    began = time.monotonic()
    try:
        socket.create_connection((host, port), _SECONDS).close()
    except OSError as error:
        start = 'start the server ("federant server")'
        dial = f"is the server running? Ask for an opening outward to TCP port {port} of {host}"
        yield problem(
            "port",
            f"port {port} of {host} does not take connections: {error}",
            start if role is Role.SERVER else dial,
        )
        return
    milliseconds = (time.monotonic() - began) * 1000
    yield ok("port", f"{host} port {port} takes connections, after {milliseconds:.0f} ms")


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
    yield from _clock(answer, before, after)
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


def _clock(answer: Answer, before: float, after: float) -> Iterator[Finding]:
    try:
        server = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except ValueError:
        return
    # It says whole seconds, of a moment between the question and the answer.
    ahead = max(0.0, before - (server + 1.0))
    behind = max(0.0, server - after)
    if max(ahead, behind) > _CLOCK_SECONDS:
        yield warning(
            "clock",
            f"this machine's is {max(ahead, behind):.0f} s {'ahead of' if ahead else 'behind'} the "
            "server's",
            "let both take the time from the network (NTP): certificates are judged by it",
        )
    else:
        yield ok("clock", "as the server's, to some seconds")


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
