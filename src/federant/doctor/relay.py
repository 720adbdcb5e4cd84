"""Whether an agent's relay lets it in, and whether a site can have its own."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from federant.cellnet import words
from federant.cellnet.dial import ANSWER_SECONDS, dialled
from federant.cellnet.errors import CellError, CellRefused, NoRelayError
from federant.cellnet.names import End, Fqcn
from federant.link import LinkConfigError
from federant.link.identity import Role
from federant.link.kit import KIT_FILE, Kit
from federant.link.loopback import is_loopback
from federant.link.proxy import proxy_for
from federant.link.tls import client_context, identities_in, tls_error
from federant.pipe.cell.address import relay_url, root_of

from .findings import Finding, ok, problem, warning
from .way import SECONDS, look_at_clock, look_at_way

if TYPE_CHECKING:
    from federant.site.config import RelayConfig

_CHANNEL: Final = "doctor"
"""No client job has one of this name: nobody is met there, and no trainer's place is taken."""


def look_at_relay(kit: Kit, *, speak: bool = True) -> Iterator[Finding]:
    """Whether this agent's trainer could join; no trainer that runs is disturbed.

    Unless one is to ``speak`` to the relay, only the way there is looked at.
    """
    file = kit.folder / KIT_FILE
    site = kit.identity.site
    right = (
        f"the machine of site {site} and the port of [relay] in its site.toml, or, where cells "
        f"meet at the server, {kit.server}"
    )
    if not kit.relay:
        yield problem(
            "relay",
            f"{file} does not say which relay this agent's trainer dials",
            f'add the line relay = "https://host:port" to it, with {right}; only a script that '
            "itself names it (root_url) needs no such line",
        )
        return
    try:
        wss = relay_url(kit.relay, secure=True)
    except ValueError:
        yield problem(
            "relay",
            f"relay in {file} is {kit.relay!r}, which is no address of a relay",
            f"write https://host:port, with {right}",
        )
        return
    url = f"https://{urlsplit(wss).netloc}"
    try:
        proxy = proxy_for(url)
    except LinkConfigError as error:
        yield problem("address", str(error))
        return
    way = list(look_at_way(url, proxy, "relay", _start(url, kit)))
    yield from way
    if not speak or any(finding.advice for finding in way):
        return
    yield from asyncio.run(_spoken_to(wss, url, kit, f"correct relay in {file}: {right}"))


def _start(url: str, kit: Kit) -> str:
    parts = urlsplit(url)
    outward = f"ask for an opening outward to TCP port {parts.port or 443} of {parts.hostname}"
    if _same(url, kit.server):
        return f"is the federation's server running? If so, {outward}"
    return (
        f"is site {kit.identity.site} running, with a table [relay] in its site.toml whose port is "
        f"this one, and whose host is not its own loopback? If so, {outward}"
    )


def _same(url: str, other: str) -> bool:
    found, wanted = urlsplit(url), urlsplit(other)
    return (found.hostname, found.port or 443) == (wanted.hostname, wanted.port or 443)


def look_at_own_relay(at: RelayConfig, kit: Kit | None) -> Iterator[Finding]:
    """Whether a site can listen where its file says, or listens there already."""
    where = f"port {at.port} of {at.host}"
    try:
        family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((at.host, at.port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            yield problem(
                "own relay", f"{where} cannot be listened on: {error.strerror}", "correct [relay]"
            )
        elif kit is not None and not _is_own(at, kit):
            yield problem(
                "own relay",
                f"{where} is taken by somebody else than this site",
                "give [relay] another port, and tell those whose kits name it; or stop what has it",
            )
        else:
            yield ok("own relay", f"{where} is taken, as while the site runs")
        return
    found = f"{where} is free, so the site does not run"
    if is_loopback(at.host):
        yield warning(
            "own relay",
            f"{found}; nobody on another machine can reach it there",
            'set host = "0.0.0.0" in [relay], if trainers on others are to',
        )
    else:
        yield ok("own relay", found)


def _is_own(at: RelayConfig, kit: Kit) -> bool:
    """Whether what listens there shows the site's own certificate."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(at.host, at.host)  # noqa: S104 - compared
    context = client_context(kit)
    context.check_hostname = False
    try:
        with (
            socket.create_connection((host, at.port), SECONDS) as connection,
            context.wrap_socket(connection) as secure,
        ):
            return kit.identity in identities_in(secure.getpeercert() or {})
    except OSError:
        return False


async def _spoken_to(wss: str, url: str, kit: Kit, correct: str) -> list[Finding]:
    """As a cell does it: TLS, a WebSocket, and to join under the agent's name."""

    def said(error: Exception) -> str:
        # It is told by the address that stands in the kit.
        return str(error).replace(root_of(wss), url)

    found: list[Finding] = []
    before = time.time()
    try:
        async with dialled(wss, str(kit.folder), kit.identity.site) as relay:
            found.append(ok("TLS", f"{_title(relay, kit)} answers"))
            date = relay.response.headers.get("date", "") if relay.response else ""
            found += look_at_clock(date, before, time.time(), "relay")
            found.append(await _joined(relay, kit, url))
    except CellRefused as error:
        found.append(problem("admission", f"the relay refuses this agent: {said(error)}"))
    except NoRelayError as error:
        untrusted = tls_error(error, f"the relay at {url}", "relay")
        if untrusted is not None:
            found.append(problem("TLS", str(untrusted)))
        else:
            found.append(problem("relay", said(error), correct))
    except (CellError, ConnectionClosed) as error:
        found.append(problem("relay", said(error), "if it stays so, look at the log there"))
    return found


def _title(relay: ClientConnection, kit: Kit) -> str:
    certificate = relay.transport.get_extra_info("peercert") or {}
    if any(identity.role is Role.SERVER for identity in identities_in(certificate)):
        return (
            f"the relay in the server of {kit.identity.federation}, which the trainer's table in "
            f'site {kit.identity.site}\'s file must name (relay = "server"),'
        )
    return f"the relay of site {kit.identity.site}"


async def _joined(relay: ClientConnection, kit: Kit, url: str) -> Finding:
    join = words.Join(
        fqcn=str(Fqcn(kit.identity.site, kit.identity.name, End.AGENT)),
        channel=_CHANNEL,
        instance=uuid.uuid4().hex,
        host=socket.gethostname()[: words.LONGEST_NAME],
        pid=os.getpid(),
        since=time.time(),
        job="",
    )
    await relay.send(words.to_text(join))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            said = words.from_text(await relay.recv(decode=True))
    except TimeoutError:
        return problem("relay", f"the relay at {url} says nothing", "start its site again")
    except ValueError as error:
        return problem("relay", f"what answers at {url} is no relay: {error}")
    if isinstance(said, words.Refused):
        return problem("admission", f"the relay refuses this agent: {said.code}: {said.text}")
    return ok("admission", f"the relay takes {kit.identity.title}, and speaks {words.SUBPROTOCOL}")
