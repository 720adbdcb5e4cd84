"""How the ends of a LocalPipe meet: the passive end's door, the active end's dialling."""

import logging
import math
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from federant.pipe.local import sockets
from federant.pipe.local.connection import Connection

logger = logging.getLogger(__name__)

_GREETING_SECONDS: Final = 5.0
_GREETINGS: Final = 16
_FIRST_RETRY: Final = 0.002
_LAST_RETRY: Final = 0.2
_LINGER_SECONDS: Final = 1.0


class Door:
    """Where the passive end listens, and those who came in and have not been greeted yet."""

    def __init__(self, path: Path, own_folder: Callable[[], str]) -> None:
        """Raises PipeBusyError if another live process listens there."""
        self._path = path
        self._own_folder = own_folder
        self._listener = sockets.listen(path)
        self._waiting: list[Connection] = []

    def descriptors(self, *, greet: bool) -> Iterator[tuple[int, int]]:
        """What to poll; greet=False: those who came in have to wait."""
        yield self._listener.fileno(), select.POLLIN
        if greet:
            for connection in self._waiting:
                yield connection.fileno(), select.POLLIN

    @property
    def seconds(self) -> float:
        """When to look next for strangers that say nothing."""
        return _GREETING_SECONDS if self._waiting else math.inf

    def admit(self, ready: set[int]) -> Connection | None:
        """Lets in one that has come."""
        if self._listener.fileno() not in ready:
            return None
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:  # it has left again
            return None
        connection.setblocking(False)
        pid, uid = sockets.credentials(connection)
        if uid != os.geteuid() or not self._has_room():
            logger.warning("stranger refused socket=%s pid=%d uid=%d", self._path, pid, uid)
            connection.close()
            return None
        self._waiting.append(Connection(connection, self._own_folder()))
        return self._waiting[-1]

    def speaking(self, ready: set[int]) -> list[Connection]:
        """Those that have said something; whoever was silent for too long is sent away."""
        if not self._waiting:
            return []
        speaking = [connection for connection in self._waiting if connection.fileno() in ready]
        now = time.monotonic()
        for connection in list(self._waiting):
            if connection not in speaking and now - connection.opened_at > _GREETING_SECONDS:
                self.dismiss(connection)
        return speaking

    def _has_room(self) -> bool:
        """Makes room if need be: who comes and speaks must not wait for those who are silent."""
        if len(self._waiting) < _GREETINGS:
            return True
        poll = select.poll()
        for connection in self._waiting:
            poll.register(connection.fileno(), select.POLLIN)
        speaking = {descriptor for descriptor, _ in poll.poll(0)}
        for connection in self._waiting:
            if connection.fileno() not in speaking:
                self.dismiss(connection)
                return True
        return False

    def take(self, connection: Connection) -> None:
        """It has been greeted."""
        self._waiting.remove(connection)

    def dismiss(self, connection: Connection) -> None:
        """It is not wanted, or gone."""
        self._waiting.remove(connection)
        connection.end(_LINGER_SECONDS)

    def close(self) -> None:
        for connection in list(self._waiting):
            self.dismiss(connection)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def abandon_in_child(self) -> None:
        for connection in self._waiting:
            connection.abandon_in_child()
        if self._listener.fileno() >= 0:  # a child's child finds it given up already
            os.close(self._listener.detach())


class Dial:
    """When the active end tries to connect again: soon, then more seldom."""

    def __init__(self) -> None:
        self._next_at = 0.0
        self._pause = _FIRST_RETRY

    @property
    def seconds(self) -> float:
        """Until the next try is due."""
        return max(self._next_at - time.monotonic(), 0)

    def connect(self, path: Path) -> socket.socket | None:
        """A connection, if a try is due and somebody listens there."""
        if self.seconds:
            return None
        self._next_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, _LAST_RETRY)
        return sockets.connect(path)

    def succeeded(self) -> None:
        """The next try after this connection is due at once."""
        self._next_at, self._pause = 0.0, _FIRST_RETRY

    def refused(self) -> None:
        self._next_at, self._pause = time.monotonic() + _LAST_RETRY, _LAST_RETRY
