"""One connection of a LocalPipe: its bytes in and out, and what is under way on it; no waiting."""

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from federant.pipe.local.wire import (
    RECORD_BYTES,
    Free,
    Moving,
    Read,
    Record,
    Unpacker,
    to_bytes,
)
from federant.pipe.sent import SentLog
from federant.spool import SpoolReader, SpoolWriter

_RECEIVE_BYTES: Final = 256 * 1024
# As plain numbers: the enum's own arithmetic costs as much as the system call.
_SEND_FLAGS: Final = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_RECEIVE_FLAGS: Final = int(socket.MSG_DONTWAIT)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end."""

    pid: int
    folder: str
    """The name of the folder that it writes into."""
    since: float
    """Unix seconds."""
    features: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Connection:
    """Used under the pipe's lock only, but for `fileno`."""

    socket: socket.socket
    own_folder: str
    """The name of the spool folder that this end writes into."""
    peer: Peer | None = None
    """None until the greetings are exchanged."""
    reader: SpoolReader | None = None
    writer: SpoolWriter | None = None
    unpacker: Unpacker = field(default_factory=Unpacker)
    sent: SentLog = field(default_factory=SentLog)
    opened_at: float = field(default_factory=time.monotonic)
    ended: bool = False
    _outgoing: bytearray = field(default_factory=bytearray)

    def greeted(self, peer: Peer, reader: SpoolReader) -> None:
        self.peer = peer
        self.reader = reader
        self.unpacker.limit = RECORD_BYTES

    def shows_life(self, record: Record) -> bool:
        """Whether it is more than the echo of what was sent without waiting, as heartbeats are."""
        if isinstance(record, Read | Moving):
            return self.sent.waits_for(record.seq)
        return not isinstance(record, Free)

    @property
    def unsent_bytes(self) -> int:
        return len(self._outgoing)

    def fileno(self) -> int:
        return self.socket.fileno()

    def post(self, record: Record) -> None:
        """Sends the record as far as the socket takes it now; the rest goes with `flush`.

        Does nothing once the connection has ended.
        """
        if not self.ended:
            self._outgoing += to_bytes(record)
            self.flush()

    def report_freed(self) -> None:
        """Tells the peer which of its files are looked at no more."""
        if self.reader is not None:
            for file in self.reader.take_freed():
                self.post(Free(file.name, file.recycle))

    def flush(self) -> None:
        """Sends what is left; a broken connection is noticed by `read`, after what it still has."""
        try:
            while self._outgoing:
                done = self.socket.send(self._outgoing, _SEND_FLAGS)
                del self._outgoing[:done]
        except BlockingIOError:
            return
        except OSError:
            self._outgoing.clear()

    def read(self) -> bool:
        """Takes in what has come; False at the end of the connection."""
        while True:
            try:
                data = self.socket.recv(_RECEIVE_BYTES, _RECEIVE_FLAGS)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self.unpacker.feed(data)
            if len(data) < _RECEIVE_BYTES:
                return True

    def records(self) -> Iterator[Record]:
        return self.unpacker.records()

    def end(self, linger: float = 0.0) -> None:
        """Closes it: who waits for a message to be read waits in vain.

        linger: seconds to go on sending what is left.
        """
        self.ended = True
        self.sent.end()
        if linger and self._outgoing and self.socket.fileno() >= 0:
            try:
                self.socket.settimeout(linger)
                self.socket.sendall(self._outgoing)
            except OSError:
                self._outgoing.clear()
        self.socket.close()

    def abandon_in_child(self) -> None:
        """In a forked child: closes the copy, so that the parent's death is seen at once."""
        if self.socket.fileno() >= 0:
            os.close(self.socket.detach())
