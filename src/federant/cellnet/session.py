"""One session: a connection of the owner's LocalPipe, what is to be carried of it; no network."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from federant.cellnet.errors import CellProtocolError
from federant.cellnet.pieces import Piece, What, of_file, of_record
from federant.cellnet.tunnel import EXPRESS_BYTES, PIECE_BYTES, Lane, Tunnel
from federant.pipe import Topic
from federant.pipe.local.connection import Connection
from federant.pipe.local.wire import LONGEST_ERROR, Free, Moving, Parcel, Read
from federant.spool import SpoolError, SpoolFile, SpoolWriter

_log = logging.getLogger(__name__)

_SLOW_BYTES: Final = 1 << 20
"""With more than this waiting for the owner, the other cell is asked to wait."""
_LONGEST_QUEUE: Final = 1024
_MOST_LAST: Final = 100


@dataclass(slots=True)
class Last:
    """Goes out after everything that was put before: the session's end, or SWEPT."""

    piece: Piece


_Outgoing: TypeAlias = Parcel | Last


@dataclass(slots=True)
class _Incoming:
    """A large message on its way to the owner."""

    parcel: Parcel
    lease: SpoolFile | None
    """None: there is no place for it, what comes is dropped."""
    done: int = 0


@dataclass(slots=True, eq=False)
class Session:
    number: int
    connection: Connection
    writer: SpoolWriter
    tunnel: Tunnel
    ending: bool = False
    """Whether the owner's end is closed: what it has sent is still carried."""
    paused: bool = False
    """Whether the owner is not read for now."""
    opens_after: int = 0
    """Before anything large goes out, so many contents of the express lane do: the last is OPEN."""
    _outgoing: deque[_Outgoing] = field(default_factory=deque)
    _offset: int = 0
    _carried: int = 0
    """The number of the large message whose bytes are under way; 0: nobody waits for one."""
    _incoming: _Incoming | None = None

    # -- from the owner to the other cell ----------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether no more is to be read from the owner for now."""
        return not self.tunnel.has_room(Lane.EXPRESS) or len(self._outgoing) > _LONGEST_QUEUE

    def take(self, record: Parcel | Read) -> None:
        """A record of the owner: small ones go before what is large, but a task's cancellation."""
        if isinstance(record, Parcel) and (
            record.file or record.topic == Topic.CANCEL or len(record.frame) > EXPRESS_BYTES
        ):
            self._outgoing.append(record)
        else:
            self.tunnel.put(Lane.EXPRESS, of_record(self.number, record).to_bytes())

    def take_last(self, piece: Piece) -> None:
        self._outgoing.append(Last(piece))

    @property
    def is_flooded(self) -> bool:
        """Whether the other cell asks for SWEPT again and again, and takes none."""
        return sum(isinstance(each, Last) for each in self._outgoing) >= _MOST_LAST

    def drop_outgoing(self) -> None:
        self._outgoing.clear()

    def pump(self) -> bool:
        """Puts more into the tunnel, as far as it has room; True once the session's end is put."""
        ended = False
        if self.tunnel.contents_sent(Lane.EXPRESS) < self.opens_after:
            return ended
        while self._outgoing and self.tunnel.has_room(Lane.BULK):
            item = self._outgoing[0]
            if isinstance(item, Last):
                if not self.tunnel.is_sent(Lane.EXPRESS):
                    break
                self._put(item.piece.after(self.tunnel.contents_sent(Lane.EXPRESS)))
                self._outgoing.popleft()
                ended = ended or item.piece.what is What.END
            elif not item.file:
                self._put(of_record(self.number, item))
                self._outgoing.popleft()
            elif self._put_some(item):
                self._outgoing.popleft()
                self._offset = 0
        return ended

    @property
    def is_handed_over(self) -> bool:
        """Whether the other cell is done with all that the owner has sent."""
        return not self._outgoing and self.tunnel.is_consumed(Lane.BULK)

    def moved(self) -> None:
        """The other cell has taken more of what is large: its sender sees that it moves."""
        if self._carried:
            self.connection.post(Moving(self._carried))
            if not self._offset and self.tunnel.is_consumed(Lane.BULK):
                self._carried = 0

    def _put(self, piece: Piece) -> None:
        self.tunnel.put(Lane.BULK, piece.to_bytes())

    def _put_some(self, parcel: Parcel) -> bool:
        """Puts a chunk of a large message; True after the last one."""
        reader = self.connection.reader
        if reader is None:  # records come after the greeting only
            return True
        if not self._offset:
            self._put(of_file(self.number, parcel))
            self._carried = parcel.seq
        size = min(PIECE_BYTES, parcel.size - self._offset)
        try:
            content = bytes(reader.read(parcel.file, size, self._offset))
        except (SpoolError, OSError) as error:
            _log.warning("unreadable message dropped file=%s error=%s", parcel.file, error)
            self._put(Piece(self.number, What.CHUNK))
            self._give_back(parcel, str(error))
            return True
        self._put(Piece(self.number, What.CHUNK, content))
        self._offset += size
        if self._offset < parcel.size:
            return False
        self._give_back(parcel)
        return True

    def _give_back(self, parcel: Parcel, error: str = "") -> None:
        if error and parcel.seq:
            self.connection.post(Read(parcel.seq, read=False, error=error[:LONGEST_ERROR]))
        self.connection.post(Free(parcel.file, recycle=not error))

    # -- from the other cell to the owner ----------------------------------------------------------

    @property
    def is_slow(self) -> bool:
        """Whether the owner does not read as fast as messages come."""
        return self.connection.unsent_bytes > _SLOW_BYTES

    def begin_file(self, parcel: Parcel, lease: SpoolFile | None, error: str = "") -> None:
        """A large message comes; lease=None: it is dropped, and its sender told why."""
        self.abandon()
        self._incoming = _Incoming(parcel, lease)
        if lease is None and parcel.seq:
            if self.tunnel.is_flooded:
                raise CellProtocolError("the other cell takes no answers and asks for more")
            read = Read(parcel.seq, read=False, error=error[:LONGEST_ERROR])
            self.tunnel.put(Lane.EXPRESS, of_record(self.number, read).to_bytes())

    def add_chunk(self, content: bytes) -> None:
        """An empty chunk: the rest of the message does not come."""
        incoming = self._incoming
        if incoming is None:
            raise CellProtocolError("a chunk of no message came")
        if not content:
            self.abandon()
            return
        end = incoming.done + len(content)
        if end > incoming.parcel.size:
            raise CellProtocolError(f"{end} bytes came of a message of {incoming.parcel.size}")
        if incoming.lease is not None:
            incoming.lease.view[incoming.done : end] = content
        incoming.done = end
        if end == incoming.parcel.size:
            self._incoming = None
            if incoming.lease is not None:
                name = incoming.lease.name
                incoming.lease.view.release()
                self.connection.post(incoming.parcel._replace(file=name))

    def abandon(self) -> None:
        """What has not come whole is of no use."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None and incoming.lease is not None:
            incoming.lease.view.release()
            self.writer.give_back(incoming.lease.name)

    # -- the end -----------------------------------------------------------------------------------

    def close_spool(self) -> Path | None:
        """Leaves what the owner has not read yet to it; the folder of the owner, if it has one."""
        self.abandon()
        self.writer.close(keep_leased=True)
        reader = self.connection.reader
        return None if reader is None else reader.folder
