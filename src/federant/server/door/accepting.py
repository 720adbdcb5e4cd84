"""Takes connections and shakes hands by TLS, as many at a time as there may be."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from federant.link.handshake import Handshake, client_text, handshake_client
from federant.link.newcomers import Newcomers

from .bodies import BodyProtocol

_log = logging.getLogger(__name__)

_HANDSHAKE_SECONDS: Final = 10.0
MAX_HANDSHAKES: Final = 128
"""At a time."""
_PAUSE_SECONDS: Final = 1.0
"""After a connection could not be taken: there are no descriptors, say."""


_BUFFER_BYTES: Final = 256 << 10
"""As much as the loop reads of a connection at a time."""


class _Buffered(asyncio.BufferedProtocol):
    """Reads for a protocol what was decrypted, all at once into one place.

    Given to it in pieces, as TLS has them, it would be put together first.  The buffer may be
    shared by all of the loop's connections, as the protocol keeps nothing of what it is handed,
    but for what it has a place of its own.
    """

    def __init__(self, protocol: BodyProtocol, buffer: memoryview) -> None:
        self._inner = protocol
        self._buffer = buffer
        self._placing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.asks_for_place = True
        self._inner.connection_made(cast("asyncio.Transport", transport))

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def get_buffer(self, _: int) -> memoryview:
        place = self._inner.place()
        self._placing = place is not None
        return self._buffer if place is None else place

    def buffer_updated(self, nbytes: int) -> None:
        if self._placing:
            self._inner.placed(nbytes)
            return
        self._inner.data_received(self._buffer[:nbytes])  # type: ignore[arg-type]

    def eof_received(self) -> None:
        self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


class TlsAcceptor:
    """Gives every connection that speaks TLS a protocol of its own.

    ``context`` becomes the acceptor's: it gets another kind of ``SSLObject``.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        protocol: Callable[[], BodyProtocol],
        handshake_seconds: float = _HANDSHAKE_SECONDS,
    ) -> None:
        context.sslobject_class = Handshake
        self._context = context
        self._protocol = protocol
        self._handshake_seconds = handshake_seconds
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._handshakes = Newcomers[asyncio.Task[None]](MAX_HANDSHAKES, asyncio.Task.cancel)

    async def accept(self, listening: socket.socket) -> None:
        """Take the connections of a listening socket, until cancelled."""
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        try:
            while True:
                try:
                    connection, address = await loop.sock_accept(listening)
                except OSError as error:
                    _log.warning("no connection can be taken error=%s", error)
                    await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                task = loop.create_task(self._shake_hands(connection, client_text(address)))
                task.add_done_callback(self._handshakes.discard)
                self._handshakes.add(task)
        finally:
            for task in self._handshakes:
                task.cancel()

    async def _shake_hands(self, connection: socket.socket, client: str) -> None:
        handshake_client.set(client)
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: _Buffered(self._protocol(), self._buffer),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._handshake_seconds,
            )
        except ssl.SSLError:
            pass  # said when it was met
        except OSError as error:
            _log.debug("gone while shaking hands client=%s error=%s", client, error)
