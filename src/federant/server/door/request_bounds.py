"""How long and how large a request may be until it has said what it wants, and how many strangers
may be there at once.

Bodies are bounded elsewhere: by what they are for.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from federant.link.newcomers import Newcomers

from .bodies import BodyProtocol

_log = logging.getLogger(__name__)

HEAD_SECONDS: Final = 20.0
"""From the first byte of a request, or the connection's begin, to the end of its headers."""
MAX_HEAD_BYTES: Final = 64 << 10
MAX_STRANGERS: Final = 64


class BoundedProtocol(BodyProtocol):
    """HTTP that hangs up on whoever begins a request and does not come to the point.

    uvicorn waits for ever, and keeps headers and trailers however many there are.  One who shows no
    certificate where TLS is spoken gets one answer within ``head_seconds``, and of too many such
    the oldest has to go: so nobody can take the descriptors of those who have one.
    """

    def __init__(
        self,
        *arguments: Any,
        strangers: Newcomers[BoundedProtocol],
        head_seconds: float = HEAD_SECONDS,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._strangers = strangers
        self._head_seconds = head_seconds
        self._due: asyncio.TimerHandle | None = None
        self._in_body = False
        self._got_on = False
        self._bytes_in_vain = 0
        self._is_stranger = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._await_head()
        if self.scheme == "https" and not transport.get_extra_info("peercert"):
            self.bound_as_stranger()

    def bound_as_stranger(self) -> None:
        """From now on this connection has one answer, and may have to go for another one."""
        self._is_stranger = True
        self._strangers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._strangers.discard(self)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        # Another protocol hears of the connection's end; cells have a bound of their own.
        self._strangers.discard(self)
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._in_body:
            self._await_head()
        self._got_on = False
        super().data_received(data)
        # What came with a part of a body may be anything, but is little: one read's.
        self._bytes_in_vain = 0 if self._got_on else self._bytes_in_vain + len(data)
        if self._bytes_in_vain > MAX_HEAD_BYTES:
            self._hang_up(f"headers of more than {MAX_HEAD_BYTES} bytes")

    def on_headers_complete(self) -> None:
        self._got_on = self._in_body = True
        super().on_headers_complete()
        if self._is_stranger:
            self.cycle.keep_alive = False
        else:
            self._disarm()

    def on_body(self, body: bytes) -> None:
        self._got_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._got_on, self._in_body = True, False
        super().on_message_complete()

    def _await_head(self) -> None:
        if self._due is None:
            self._due = self.loop.call_later(
                self._head_seconds, self._hang_up, f"no request within {self._head_seconds:g} s"
            )

    def _disarm(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _hang_up(self, reason: str) -> None:
        if not self.transport.is_closing():
            host, port = self.client or ("?", 0)
            _log.warning("denied client=%s:%s reason=%r", host, port, reason)
        self.transport.abort()


def strangers_of_a_server() -> Newcomers[BoundedProtocol]:
    """Of one server's connections, those that get one answer."""
    # Who has to go is not logged: who makes so many would fill the log too.
    return Newcomers(MAX_STRANGERS, lambda oldest: oldest.transport.abort())
