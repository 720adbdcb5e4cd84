"""Who is at the other end of a connection, by its certificate; what one may do is not said here."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from federant.link.identity import Identity
from federant.link.tls import identities_in, serial_in

from .request_bounds import BoundedProtocol

_log = logging.getLogger(__name__)

PEER: Final = "federant.peer"
"""Under this name a request's scope holds its ``Peer``; None = no certificate, or no TLS at all."""

SURPLUS: Final = "federant.surplus"
"""Whether there are too many connections of the request's certificate already, in its scope."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who a verified certificate names."""

    identity: Identity | None
    """None if it names nobody, or several: such a one may do nothing."""
    serial: str
    """The certificate's serial number, in lowercase hexadecimal digits."""
    expires: float
    """When it ends, in seconds since the epoch."""


class PeerProtocol(BoundedProtocol):
    """HTTP that tells each request who sends it.

    ``connections`` has how many there are by each serial number, for all protocols of a server.  Of
    more than ``most_connections`` each is one too many: it has one answer, as a stranger's has.
    """

    _peer: Peer | None = None
    _surplus = False
    _gone = False

    def __init__(
        self, *arguments: Any, connections: Counter[str], most_connections: int, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._counted = connections
        self._most_connections = most_connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._peer = peer_of(transport)
        if self._peer is not None:
            self._counted[self._peer.serial] += 1
            self._surplus = self._counted[self._peer.serial] > self._most_connections
            if self._surplus:
                self.bound_as_stranger()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._count_no_more()

    def handle_websocket_upgrade(self) -> None:
        # What becomes of the connection is told to another protocol; cells have a bound of theirs.
        self._count_no_more()
        super().handle_websocket_upgrade()

    def _count_no_more(self) -> None:
        if self._peer is not None and not self._gone:
            self._gone = True
            self._counted[self._peer.serial] -= 1
            if not self._counted[self._peer.serial]:
                del self._counted[self._peer.serial]

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][PEER] = self._peer
        self.scope["state"][SURPLUS] = self._surplus

    def send_400_response(self, msg: str) -> None:
        host, port = self.client or ("?", 0)
        _log.warning("denied client=%s:%s reason=%r (it may speak TLS)", host, port, msg)
        super().send_400_response(msg)


def peer_of(transport: asyncio.BaseTransport) -> Peer | None:
    """Who is at the other end; None if it showed no certificate."""
    certificate: dict[str, Any] | None = transport.get_extra_info("peercert")
    if not certificate:
        return None
    named = identities_in(certificate)
    return Peer(
        identity=named[0] if len(named) == 1 else None,
        serial=serial_in(certificate),
        expires=float(ssl.cert_time_to_seconds(certificate["notAfter"])),
    )
