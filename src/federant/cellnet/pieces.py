"""What a packet between two cells holds: a piece of a session, that is of a LocalPipe connection.

How pieces travel is tunnel's business; what they cause, the sessions'.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from federant.cellnet.errors import CellProtocolError, shown
from federant.pipe.errors import PipeProtocolError
from federant.pipe.local.wire import LONGEST_ERROR, RECORD_BYTES, Parcel, Read, Unpacker, to_bytes


class What(IntEnum):
    OPEN = 0
    """The agent has connected; the session begins."""
    RECORD = 1
    """A record of LocalPipe, as it stands: a small message, or what became of one."""
    FILE = 2
    """A message whose frame follows in chunks."""
    CHUNK = 3
    END = 4
    """The owner's end of the connection is closed; the content says whether it said goodbye.

    It and SWEPT come after everything that was sent before, so their contents begin with how many
    contents of the express lane that was.
    """
    SWEEP = 5
    """Asks for SWEPT once all that the owner has sent until now is under way; by a number."""
    SWEPT = 6
    """Answers with that number."""
    READY = 7
    """Follows the END of a client job that is there nevertheless: another session may be opened."""


_HEAD: Final = struct.Struct("<IB")
_GOODBYE: Final = {True: b"\1", False: b"\0"}
_NUMBER: Final = struct.Struct("<Q")


class Piece(NamedTuple):
    session: int
    what: What
    content: bytes = b""

    def to_bytes(self) -> bytes:
        return _HEAD.pack(self.session, self.what) + self.content

    @classmethod
    def from_bytes(cls, data: bytes) -> Piece:
        """CellProtocolError for what is no piece."""
        if len(data) < _HEAD.size:
            raise CellProtocolError(f"a piece of {len(data)} bytes is too short")
        session, what = _HEAD.unpack_from(data)
        if what not in set(What):
            raise CellProtocolError(f"a piece of unknown kind {what} came")
        return cls(session, What(what), data[_HEAD.size :])

    def after(self, express: int) -> Piece:
        """The same, as it goes out after so many contents of the express lane."""
        return self._replace(content=_NUMBER.pack(express) + self.content)

    def came_after(self) -> tuple[int, Piece]:
        """What `after` was given, and was told; CellProtocolError for what it has not made."""
        if len(self.content) < _NUMBER.size:
            raise CellProtocolError(f"a piece {self.what.name} does not say what came before it")
        (express,) = _NUMBER.unpack_from(self.content)
        return express, self._replace(content=self.content[_NUMBER.size :])


def of_record(session: int, record: Parcel | Read) -> Piece:
    return Piece(session, What.RECORD, to_bytes(record))


def of_file(session: int, parcel: Parcel) -> Piece:
    """The message without its frame; the name of the file means nothing elsewhere."""
    return Piece(session, What.FILE, to_bytes(parcel._replace(file="", frame=b"")))


def of_end(session: int, *, clean: bool) -> Piece:
    return Piece(session, What.END, _GOODBYE[clean])


def is_clean(piece: Piece) -> bool:
    return piece.content == _GOODBYE[True]


def of_sweep(number: int, what: What) -> Piece:
    """SWEEP, or SWEPT, of that number."""
    return Piece(0, what, _NUMBER.pack(number))


def sweep_in(piece: Piece) -> int:
    """CellProtocolError if no number is in it."""
    if len(piece.content) != _NUMBER.size:
        raise CellProtocolError(f"a piece {piece.what.name} holds no number")
    (number,) = _NUMBER.unpack(piece.content)
    return int(number)


def record_in(piece: Piece) -> Parcel | Read:
    """CellProtocolError if no such record is in it, or one that names a file."""
    unpacker = Unpacker()
    unpacker.limit = RECORD_BYTES
    unpacker.feed(piece.content)
    try:
        records = list(unpacker.records())
    except PipeProtocolError as error:
        raise CellProtocolError(str(error)) from error
    if len(records) == 1:
        record = records[0]
        wanted = (Parcel, Read) if piece.what is What.RECORD else (Parcel,)
        if isinstance(record, Read):
            record = record._replace(error=shown(record.error)[:LONGEST_ERROR])
        if isinstance(record, wanted) and not getattr(record, "file", ""):
            return record
    raise CellProtocolError(f"a piece {piece.what.name} holds something else than its record")


def parcel_in(piece: Piece) -> Parcel:
    """The message that a piece FILE begins; CellProtocolError if its size cannot be."""
    record = record_in(piece)
    if not isinstance(record, Parcel) or record.size <= 0:
        raise CellProtocolError("a piece FILE begins no file")
    return record
