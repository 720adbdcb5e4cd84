"""Who is connected with a relay, and how many may be: by certificate, and before that is known.

What a guest may do is said elsewhere. Nobody can take the descriptors or the memory of those who
have a certificate: handshakes and requests without an end are bounded in number, time and size.
"""

from __future__ import annotations

import logging
import resource
import socket
from contextlib import suppress
from typing import Any, Final

from websockets.asyncio.server import ServerConnection

from federant.link.handshake import client_text, handshake_client
from federant.link.newcomers import Newcomers
from federant.link.tls import serial_in

_log = logging.getLogger(__name__)

MOST_NEWCOMERS: Final = 64
"""Connections at a time on which nobody has joined yet."""
MOST_OF_AGENT: Final = 16
"""Connections with one certificate of an agent: it needs two, and more while it is not known yet
that old ones are gone."""
MOST_OF_SITE: Final = 512
"""The same of the site's own, which each of its client jobs has."""
MAX_HEAD_BYTES: Final = 64 << 10
"""Of the request with which a WebSocket begins."""
_MANY: Final = 1 << 16


def most_of_all() -> int:
    """Connections together: half of the descriptors that this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MANY if soft == resource.RLIM_INFINITY else max(soft // 2, 1)


class Guest(ServerConnection):
    """One connection, once TLS is spoken."""

    def __init__(self, *arguments: Any, guests: Guests, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._guests = guests
        self._head_bytes = 0
        self.serial = ""
        """Of the certificate that was shown; empty for none."""

    def connection_made(self, transport: Any) -> None:
        certificate = transport.get_extra_info("peercert")
        self.serial = serial_in(certificate) if certificate else ""
        self._guests.came(self)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.request is None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._deny(f"a request of more than {MAX_HEAD_BYTES} bytes")
                self.transport.abort()
                return
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._guests.left(self)
        super().connection_lost(exc)
        failed = self.protocol.handshake_exc
        # Who came without a word only looked whether somebody is here.
        if failed is not None and 0 < self._head_bytes <= MAX_HEAD_BYTES:
            self._deny(f"no request for a WebSocket came: {failed.__cause__ or failed}")

    def _deny(self, reason: str) -> None:
        client = client_text(self.transport.get_extra_info("peername"))
        _log.warning("denied client=%s reason=%r", client, reason[:500])


class Guests:
    """All connections of one relay. Used in its event loop only."""

    def __init__(self) -> None:
        self._connected: dict[str, set[Guest]] = {}
        self._newcomers: Newcomers[socket.socket] = Newcomers(MOST_NEWCOMERS, _hang_up)
        self._most = most_of_all()

    def listening(self, host: str, port: int) -> socket.socket:
        """A bound socket whose connections count from their first moment on; OSError if the port
        cannot be had."""
        listening = _Listening(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listening.newcomers = self._newcomers
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
        except OSError:
            listening.close()
            raise
        return listening

    def new(self, *arguments: Any, **options: Any) -> Guest:
        """A connection that is to be among them: websockets' `create_connection`."""
        return Guest(*arguments, guests=self, **options)

    def of(self, serial: str) -> list[Guest]:
        """The connections that were made with that certificate."""
        return list(self._connected.get(serial, ()))

    def refusal(self, guest: Guest, most: int) -> str:
        """Why there is no room for it; empty if there is. `most`: with its certificate."""
        if len(self._connected.get(guest.serial, ())) > most:
            return (
                f"there are {most} connections with that certificate, which is the most; end an "
                "agent that uses it"
            )
        if sum(map(len, self._connected.values())) > self._most:
            return (
                f"there are {self._most} connections, half of the files that the site's daemon may "
                "have open (ulimit -n), which is the most"
            )
        return ""

    def came(self, guest: Guest) -> None:
        self._connected.setdefault(guest.serial, set()).add(guest)

    def joined(self, guest: Guest) -> None:
        """It is no newcomer any more."""
        number = guest.transport.get_extra_info("socket").fileno()
        for each in self._newcomers:
            if each.fileno() == number:
                self._newcomers.discard(each)

    def left(self, guest: Guest) -> None:
        there = self._connected.get(guest.serial, set())
        there.discard(guest)
        if not there:
            self._connected.pop(guest.serial, None)


class _Listening(socket.socket):
    """Notes each connection that it gives; asyncio knows one only after its TLS handshake."""

    newcomers: Newcomers[socket.socket]

    def accept(self) -> tuple[socket.socket, Any]:
        came, address = super().accept()
        handshake_client.set(client_text(address))
        for each in self.newcomers:
            if each.fileno() < 0:  # it went by itself
                self.newcomers.discard(each)
        self.newcomers.add(came)
        return came, address


def _hang_up(newcomer: socket.socket) -> None:
    # Not logged: who makes so many would fill the log too.
    with suppress(OSError):
        newcomer.shutdown(socket.SHUT_RDWR)
