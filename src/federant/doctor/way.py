"""The way to an address, whatever answers there: proxy, DNS, port; and the clock at its end."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from federant.link.proxy import Proxy

from .findings import Finding, ok, problem, warning

SECONDS: Final = 10.0
"""How long each try may take."""
_CLOCK_SECONDS: Final = 5.0
"""By how much two clocks may differ without a word."""


def look_at_way(url: str, proxy: Proxy | None, goal: str, start: str) -> Iterator[Finding]:
    """Whether ``goal`` (``server``, ``relay``) can be dialled at ``url``, and if not, to ``start``.

    A finding with an advice ends it: nothing that comes after can work.  What is behind a proxy is
    not dialled here.
    """
    yield _proxy(proxy, url)
    if proxy is None:
        yield from _dialled(url, goal, start)


def look_at_clock(date: str, before: float, after: float, whose: str) -> Iterator[Finding]:
    """What an answer's header says of the time, asked for and had at these Unix seconds."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return
    # It says whole seconds, of a moment between the question and the answer.
    ahead = max(0.0, before - (theirs + 1.0))
    behind = max(0.0, theirs - after)
    if max(ahead, behind) > _CLOCK_SECONDS:
        yield warning(
            "clock",
            f"this machine's is {max(ahead, behind):.0f} s {'ahead of' if ahead else 'behind'} the "
            f"{whose}'s",
            "let both take the time from the network (NTP): certificates are judged by it",
        )
    else:
        yield ok("clock", f"as the {whose}'s, to some seconds")


def _proxy(proxy: Proxy | None, url: str) -> Finding:
    if proxy is not None:
        as_whom = ", with a name and a password" if proxy.user is not None else ""
        return ok("proxy", f"{url} is reached through {proxy.url} ({proxy.variable}){as_whom}")
    names = [name for name in ("https_proxy", "HTTPS_PROXY") if os.environ.get(name)]
    if names:
        return ok("proxy", f"{url} is reached without the one in {names[0]}")
    return ok("proxy", "none: the environment names none in https_proxy")


def _dialled(url: str, goal: str, start: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        yield problem(
            "DNS",
            f"the name {host} of the {goal} is not known here: {error}",
            "ask for its right name or address, or for a proxy (https_proxy) that knows it",
        )
        return
    addresses = ", ".join(dict.fromkeys(str(each[4][0]) for each in found))
    yield ok("DNS", f"{host} is {addresses}")
    began = time.monotonic()
    try:
        socket.create_connection((host, port), SECONDS).close()
    except OSError as error:
        yield problem("port", f"port {port} of {host} does not take connections: {error}", start)
        return
    milliseconds = (time.monotonic() - began) * 1000
    yield ok("port", f"{host} port {port} takes connections, after {milliseconds:.0f} ms")
