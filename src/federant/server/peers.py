"""Who is at the other end of a connection, by its certificate; what one may do is not said here."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from typing import Any, Final

from federant.link.identity import Identity
from federant.link.tls import identities_in, serial_in

from .request_bounds import BoundedProtocol

_log = logging.getLogger(__name__)

PEER: Final = "federant.peer"
"""Under this name a request's scope holds its ``Peer``; None = no certificate, or no TLS at all."""

_LARGE_BYTES: Final = 16 << 10


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
    """HTTP that tells each request who sends it."""

    _peer: Peer | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._peer = peer_of(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][PEER] = self._peer

    def on_body(self, body: bytes) -> None:
        # What came is passed on as it is, where it would be copied twice.
        there: bytes | bytearray = self.cycle.body
        if not there and len(body) >= _LARGE_BYTES:
            self.cycle.body = body  # type: ignore[assignment]  # whoever reads it takes both
            body = b""
        elif isinstance(there, bytes):
            self.cycle.body = bytearray(there)
        super().on_body(body)

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
