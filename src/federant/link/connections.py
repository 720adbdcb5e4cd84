"""The connections under the calls: how far they wait, and that the other end is the right one.

A peer is gone when it took no bytes, or the kernel got no acknowledgement, for some time; however
long all of a transfer takes.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, cast

import urllib3

from .tls import require_server

KEEP_ALIVE_SECONDS: Final = 20
"""After that long without a byte the kernel asks whether the other side is still there."""
KEEP_ALIVE_TRIES: Final = 3
UNACKNOWLEDGED_SECONDS: Final = 60
"""A side that acknowledges nothing of what was sent to it for that long is gone, to the server."""
_DIALLED_UNACKNOWLEDGED_SECONDS: Final = 20
"""The same to the one that dials: it may have another address by now, and tries again at once."""
_UNSENT_BYTES: Final = 256 << 10
"""More the kernel does not take of what it cannot send yet: what it has taken counts as sent, and
is copied from the processor's cache if it is not much."""

_LOOK_SECONDS: Final = 0.1
"""How often it is looked how far the other side's acknowledgements have come."""

_TCP_INFO: Final = struct.Struct("=24x I 92x Q 16x I")
"""Linux's ``struct tcp_info``: tcpi_unacked, tcpi_bytes_acked and tcpi_notsent_bytes."""

Option = tuple[int, int, int]


def _tcp(name: str, value: int) -> list[Option]:
    """None where the system has no such option."""
    number: int | None = getattr(socket, name, None)
    return [] if number is None else [(socket.IPPROTO_TCP, number, value)]


LIVENESS_OPTIONS: Final[tuple[Option, ...]] = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *_tcp("TCP_KEEPIDLE", KEEP_ALIVE_SECONDS),
    *_tcp("TCP_KEEPINTVL", KEEP_ALIVE_SECONDS),
    *_tcp("TCP_KEEPCNT", KEEP_ALIVE_TRIES),
    *_tcp("TCP_USER_TIMEOUT", UNACKNOWLEDGED_SECONDS * 1000),
)
"""For either end of a connection; a listening socket's go over to the connections it takes."""

ACCEPTED_OPTIONS: Final[list[Option]] = [
    *LIVENESS_OPTIONS,
    *_tcp("TCP_NOTSENT_LOWAT", _UNSENT_BYTES),
]
"""For the end that is dialled; a listening socket's, as those."""

DIALLED_OPTIONS: Final[list[Option]] = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    *LIVENESS_OPTIONS,
    *_tcp("TCP_USER_TIMEOUT", _DIALLED_UNACKNOWLEDGED_SECONDS * 1000),
    *_tcp("TCP_NOTSENT_LOWAT", _UNSENT_BYTES),
]
"""For the end that dials."""


class _Patient:
    """How long one end waits for the other to take what it sends.

    Neither ``sendall``, which gives the whole of what it is handed one time limit, nor the kernel,
    which may take nothing more before a good part of what it has is gone, says that the other
    side is gone.  That nothing is acknowledged any more does.
    """

    def __init__(self, connection: socket.socket, stalled_seconds: float) -> None:
        self._connection = connection
        self._stalled_seconds = stalled_seconds
        self._acknowledged = -1

    def send(self, data: Any) -> None:
        """All of it; TimeoutError if for some time nothing went."""
        rest = memoryview(data).cast("B")
        # Two looks make up the time: what counts is what was acknowledged between them.
        self._connection.settimeout(self._stalled_seconds / 2)
        while rest:
            try:
                rest = rest[self._connection.send(rest) :]
            except TimeoutError:
                if not self._advanced():
                    raise

    def finish(self) -> None:
        """Wait until the other side has all of it, or answers; TimeoutError as for ``send``."""
        given_up = 0.0
        while _Acknowledged.of(self._connection).outstanding:
            if self._advanced():
                given_up = time.monotonic() + self._stalled_seconds
            elif time.monotonic() > given_up:
                raise TimeoutError("the other side acknowledges nothing any more")
            if select.select([self._connection], [], [], _LOOK_SECONDS)[0]:
                return

    def _advanced(self) -> bool:
        before, self._acknowledged = (
            self._acknowledged,
            _Acknowledged.of(self._connection).sent,
        )
        return self._acknowledged > before


class _Acknowledged(NamedTuple):
    """What the other side has said to have; where the system does not tell, it has everything."""

    sent: int
    """In bytes, of all that was sent on the connection."""
    outstanding: bool
    """Whether something that the kernel took was not acknowledged yet."""

    @classmethod
    def of(cls, connection: socket.socket) -> _Acknowledged:
        if sys.platform == "linux":
            with suppress(OSError, struct.error):
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                segments, count, unsent = _TCP_INFO.unpack_from(info)
                return cls(count, bool(segments or unsent))
        return cls(0, outstanding=False)


class _PatientConnection(urllib3.connection.HTTPConnection):
    """One whose transfers take as long as they take."""

    def __init__(self, *args: Any, stalled_seconds: float, **options: Any) -> None:
        super().__init__(*args, **{**options, "socket_options": DIALLED_OPTIONS})
        self._stalled_seconds = stalled_seconds

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _Patient(cast("socket.socket", self.sock), self._stalled_seconds).send(data)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3's own
        _Patient(cast("socket.socket", self.sock), self._stalled_seconds).finish()
        return super().getresponse()


class PlainConnection(_PatientConnection):
    """One without TLS."""


class ServerConnection(_PatientConnection, urllib3.connection.HTTPSConnection):
    """One to a federation's server, and not to another who has a certificate there."""

    def __init__(self, *args: Any, federation: str, url: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._federation = federation
        self._url = url

    def connect(self) -> None:
        super().connect()
        require_server(self.sock, self._federation, self._url)


class PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = PlainConnection


class ServerPool(urllib3.HTTPSConnectionPool):
    """Connections by the certificate that the caller has now: one by an older is not used again."""

    ConnectionCls = ServerConnection

    def __init__(self, *args: Any, contexts: Callable[[], ssl.SSLContext], **options: Any) -> None:
        super().__init__(*args, ssl_context=contexts(), **options)
        self._contexts = contexts

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        context = self._contexts()
        if connection.ssl_context is not context:
            connection.close()
            connection.ssl_context = context
        return connection
