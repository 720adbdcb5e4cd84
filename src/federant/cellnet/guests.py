"""Who is connected with a relay, by certificate, from the end of the TLS handshake on; what they
may do is said elsewhere.
"""

from __future__ import annotations

from typing import Any

from websockets.asyncio.server import ServerConnection

from federant.link.tls import serial_in


class Guest(ServerConnection):
    """One connection."""

    def __init__(self, *arguments: Any, guests: Guests, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._guests = guests
        self.serial = ""
        """Of the certificate that was shown; empty for none."""

    def connection_made(self, transport: Any) -> None:
        certificate = transport.get_extra_info("peercert")
        self.serial = serial_in(certificate) if certificate else ""
        self._guests.came(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._guests.left(self)
        super().connection_lost(exc)


class Guests:
    """All connections of one relay. Used in its event loop only."""

    def __init__(self) -> None:
        self._connected: dict[str, set[Guest]] = {}

    def new(self, *arguments: Any, **options: Any) -> Guest:
        """A connection that is to be among them: websockets' `create_connection`."""
        return Guest(*arguments, guests=self, **options)

    def of(self, serial: str) -> list[Guest]:
        """The connections that were made with that certificate."""
        return list(self._connected.get(serial, ()))

    def came(self, guest: Guest) -> None:
        self._connected.setdefault(guest.serial, set()).add(guest)

    def left(self, guest: Guest) -> None:
        there = self._connected.get(guest.serial, set())
        there.discard(guest)
        if not there:
            self._connected.pop(guest.serial, None)
