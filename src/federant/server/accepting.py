"""Takes connections and shakes hands by TLS, telling both sides why where that fails.

asyncio's own server drops a client whose certificate it does not accept: the client is not sent the
alert that says why, and nothing is logged.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

_log = logging.getLogger(__name__)

_HANDSHAKE_SECONDS: Final = 10.0
MAX_HANDSHAKES: Final = 128
"""At a time.  Of more than that the oldest has to go, which takes much longer than it should: so
who begins many and ends none cannot take all descriptors of the process."""
_PAUSE_SECONDS: Final = 1.0
"""After a connection could not be taken: there are no descriptors, say."""

_client: contextvars.ContextVar[str] = contextvars.ContextVar("client")


class _Handshake(ssl.SSLObject):
    """One that lets the alert out with which it refuses a certificate."""

    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            _log.warning("denied client=%s reason=%r", _client.get(), error.verify_message)
            self._failure = error
            # Whoever drives this sends what is to be sent and waits for the other side, which
            # reads the alert and goes; else the handshake's time ends it.
            raise ssl.SSLWantReadError("the alert is on its way") from error


class TlsAcceptor:
    """Gives every connection that speaks TLS a protocol of its own.

    ``context`` becomes the acceptor's: it gets another kind of ``SSLObject``.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        protocol: Callable[[], asyncio.Protocol],
        handshake_seconds: float = _HANDSHAKE_SECONDS,
    ) -> None:
        context.sslobject_class = _Handshake
        self._context = context
        self._protocol = protocol
        self._handshake_seconds = handshake_seconds
        self._handshakes: dict[asyncio.Task[None], None] = {}
        """The oldest first."""

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
                task = loop.create_task(self._shake_hands(connection, _text(address)))
                self._handshakes[task] = None
                task.add_done_callback(self._forget)
                if len(self._handshakes) > MAX_HANDSHAKES:
                    oldest = next(iter(self._handshakes))
                    del self._handshakes[oldest]
                    oldest.cancel()
        finally:
            for task in self._handshakes:
                task.cancel()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._handshakes.pop(task, None)

    async def _shake_hands(self, connection: socket.socket, client: str) -> None:
        _client.set(client)
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._handshake_seconds,
            )
        except ssl.SSLCertVerificationError:
            pass  # said when it was met
        except ssl.SSLError as error:
            _log.warning("denied client=%s reason=%r", client, error.reason or str(error))
        except OSError as error:
            _log.debug("gone while shaking hands client=%s error=%s", client, error)


def _text(address: Any) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
