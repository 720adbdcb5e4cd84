"""How a cell reaches its relay: the address, who answers there, and in words why it could not."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
    WebSocketException,
)
from websockets.typing import Subprotocol

from federant.cellnet import words
from federant.cellnet.errors import CellError, CellRefused, NoRelayError
from federant.cellnet.tunnel import PACKET_BYTES
from federant.pipe.cell.address import root_of

if TYPE_CHECKING:
    from federant.link.proxy import Proxy

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 15.0
"""For the relay to let the cell in: it may first ask another that goes by the same name."""
PING_SECONDS: Final = 5.0
"""Proxies and firewalls close connections on which nothing moves, some after ten seconds."""
PONG_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 1.0
MESSAGE_BYTES: Final = PACKET_BYTES + 64

_TOO_MANY: Final = 429
_AWAY: Final = (502, 503, 504)


class _Connection(ClientConnection):
    """One that remembers why TLS ended it: who is refused hears of it after the handshake."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        failed = self.protocol.handshake_exc
        if failed is not None and isinstance(exc, ssl.SSLError):
            failed.__cause__ = exc


@asynccontextmanager
async def dialled(url: str, kit: str, site: str) -> AsyncIterator[ClientConnection]:
    """A connection to a relay for the site; CellError, in words, if there is none.

    Through the proxy that the environment names (https_proxy, no_proxy), if it names one.
    """
    root = root_of(url)
    context, proxy = None, None
    if kit:
        # Not needed without TLS, and not quick to import.
        from federant.link.errors import LinkError
        from federant.link.proxy import proxy_for

        try:
            context, proxy = _context(Path(kit)), proxy_for(root)
        except LinkError as error:
            raise NoRelayError(str(error)) from error
    try:
        async with connect(
            url,
            ssl=context,
            create_connection=_Connection,
            subprotocols=[Subprotocol(words.SUBPROTOCOL)],
            compression=None,
            proxy=None if proxy is None else proxy.login_url,
            open_timeout=CONNECT_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
            close_timeout=CLOSE_SECONDS,
            max_size=MESSAGE_BYTES,
        ) as connection:
            if connection.subprotocol != words.SUBPROTOCOL:
                raise NoRelayError(
                    f"{root}: what answers there speaks WebSocket and is no relay of federant; "
                    "check root_url"
                )
            if kit:
                _require_relay(connection, Path(kit), site, root)
                _notice_deaths(connection)
            try:
                yield connection
            except BaseException:
                # A goodbye would wait until the other end takes what was sent before it.
                connection.transport.abort()
                raise
    except CellError:
        raise
    except ConnectionClosed as error:
        _raise_untrusted(error, kit, root)
        raise CellError(f"{root}: the connection to the relay is gone: {error}") from error
    except InvalidStatus as error:
        status = error.response.status_code
        text = bytes(error.response.body or b"")[:500].decode(errors="replace").strip()
        server = error.response.headers.get("Server", "a server without a name")
        said = f"{root}: {server} answered with HTTP {status} {text!r}"
        if status in _AWAY:
            raise CellError(f"{said}: the relay behind it is away") from error
        if status == _TOO_MANY:
            raise CellError(said) from error
        if status in (401, 403):
            raise CellRefused(words.Refusal.FORBIDDEN, said) from error
        raise NoRelayError(
            f"{said}: that is no relay of federant; root_url must be the address of the site's "
            "relay ([relay] in the site's file), or of the server if that has one"
        ) from error
    except (InvalidMessage, EOFError) as error:
        _raise_untrusted(error, kit, root)
        if isinstance(error.__cause__, EOFError):
            # A relay that is being started again does so too; one that refuses says so by TLS.
            raise CellError(
                f"{root}: what answers there hung up without a word; is it the site's relay, and "
                f"does it speak TLS{'' if kit else ' only'}? check root_url"
            ) from error
        raise NoRelayError(
            f"{root}: what answers there speaks no HTTP, or another kind of it "
            f"({error.__cause__ or error}); check scheme and port of root_url"
        ) from error
    except (InvalidHandshake, WebSocketException) as error:
        _raise_untrusted(error, kit, root)
        _raise_of_proxy(error, proxy, root)
        raise CellError(f"{root}: no connection to the relay: {error}") from error
    except (OSError, TimeoutError) as error:
        _raise_untrusted(error, kit, root)
        _raise_of_proxy(error, proxy, root)
        raise CellError(
            f"{root}: no relay answers there: {str(error) or 'it took too long'}; is the site "
            f"running{', and does its relay speak TLS' if kit else ''}?"
        ) from error


def _notice_deaths(connection: ClientConnection) -> None:
    """So that a relay which acknowledges nothing any more is given up.

    A ping does not say so while something large is being sent: it waits its turn behind that.
    """
    from federant.link.connections import DIALLED_OPTIONS

    for option in DIALLED_OPTIONS:
        connection.transport.get_extra_info("socket").setsockopt(*option)


def _context(kit: Path) -> ssl.SSLContext:
    from federant.link.kit import load_kit
    from federant.link.tls import client_context

    context = client_context(load_kit(kit))
    # The federation's authority says in the certificate which site this is, and that is asked
    # for below; a host's name would say less, and a relay may be reached by several.
    context.check_hostname = False
    return context


def _require_relay(connection: ClientConnection, kit: Path, site: str, root: str) -> None:
    """The site's own, or the federation's server's; it can read neither what is said there."""
    from federant.link.identity import Identity, Role
    from federant.link.kit import load_kit
    from federant.link.tls import identities_in

    found = identities_in(connection.transport.get_extra_info("peercert") or {})
    federation = load_kit(kit).identity.federation
    allowed = (Identity(federation, Role.SITE, site), Identity(federation, Role.SERVER))
    if not any(identity in allowed for identity in found):
        who = ", ".join(identity.title for identity in found) or "nobody in this federation"
        raise NoRelayError(
            f"{root}: what answers there is {who}, not the relay of site {site}, nor the "
            "federation's server; check root_url and site_name"
        )


def _raise_untrusted(error: Exception, kit: str, root: str) -> None:
    """NoRelayError if TLS is what failed."""
    if kit:
        from federant.link.tls import tls_error

        found = tls_error(error, root, "relay")
        if found is not None:
            raise NoRelayError(str(found)) from error


def _raise_of_proxy(error: Exception, proxy: Proxy | None, root: str) -> None:
    """NoRelayError for a proxy that does not let this machine through, CellError for one that is
    away, or finds no relay."""
    if proxy is None:
        return
    if isinstance(error, InvalidProxyStatus):
        told = proxy.refused(error.response.status_code, root)
        raise (CellError if told.status in _AWAY else NoRelayError)(str(told)) from error
    if isinstance(error, InvalidProxyMessage):
        raise CellError(f"{proxy.title} does not speak HTTP, or hung up; is it one?") from error
    if isinstance(error, OSError) and not isinstance(error, ConnectionResetError | TimeoutError):
        raise CellError(str(proxy.silent())) from error
    raise CellError(f"{root}, by way of {proxy.title}: no relay answers: {error}") from error
