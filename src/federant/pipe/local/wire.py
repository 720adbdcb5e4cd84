"""The records on LocalPipe's socket, and how they become bytes; what they cause is not here.

A record is a u32 (little endian) length and so many bytes of msgpack: a list of a kind and its
fields. The active end begins with HELLO and gets WELCOME or REFUSE; then both send the others.
"""

import struct
from collections.abc import Iterator
from enum import StrEnum
from types import UnionType
from typing import Any, Final, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

import msgpack

from federant.pipe.errors import PipeProtocolError

PROTOCOL: Final = "federant.pipe"
VERSION: Final = 1
FEATURES: Final = ("accepted", "cancel", "spool")

GREETING_BYTES: Final = 4 * 1024
RECORD_BYTES: Final = 256 * 1024
LONGEST_ERROR: Final = 1000
"""Characters of the reason why a message could not be read."""

_LENGTH: Final = struct.Struct("<I")


class Kind(StrEnum):
    HELLO = "hello"
    WELCOME = "welcome"
    REFUSE = "refuse"
    MESSAGE = "msg"
    READ = "read"
    FREE = "free"
    MOVING = "moving"
    BYE = "bye"


class Hello(NamedTuple):
    """What the active end says first."""

    protocol: str
    version: int
    features: list[str]
    token: str
    channel: str
    pid: int
    folder: str
    """The name of the spool folder that this end writes into."""


class Welcome(NamedTuple):
    version: int
    features: list[str]
    pid: int
    folder: str


class Refuse(NamedTuple):
    code: str
    text: str


class Parcel(NamedTuple):
    """A message: its frame inline, or the name and the size of a spool file of the sender."""

    seq: int
    """From 1 upwards; 0: the sender does not want to hear that it was read."""
    msg_type: str
    topic: str
    msg_id: str | int
    req_id: str | int | None
    sent_time: float
    frame: bytes
    file: str
    size: int


class Read(NamedTuple):
    """What became of a parcel: read=False means dropped unread."""

    seq: int
    read: bool
    error: str
    """Why it could not be read; empty if it was dropped with all that waited."""


class Free(NamedTuple):
    """A spool file of the receiver of this record is looked at no more."""

    file: str
    recycle: bool


class Moving(NamedTuple):
    """Said by a cell in between: more of that parcel has reached the other machine."""

    seq: int


class Bye(NamedTuple):
    reason: str


Record: TypeAlias = Hello | Welcome | Refuse | Parcel | Read | Free | Moving | Bye


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)


_KINDS: Final[dict[str, type[Record]]] = {
    Kind.HELLO: Hello,
    Kind.WELCOME: Welcome,
    Kind.REFUSE: Refuse,
    Kind.MESSAGE: Parcel,
    Kind.READ: Read,
    Kind.FREE: Free,
    Kind.MOVING: Moving,
    Kind.BYE: Bye,
}
_NAMES: Final = {cls: str(kind) for kind, cls in _KINDS.items()}
_FIELDS: Final[dict[type[Record], list[tuple[str, tuple[type, ...]]]]] = {
    cls: [
        (name, tuple(get_origin(kind) or kind for kind in _alternatives(annotation)))
        for name, annotation in get_type_hints(cls).items()
    ]
    for cls in _NAMES
}


def to_bytes(record: Record) -> bytes:
    """The record with its length before it."""
    content: bytes = msgpack.packb([_NAMES[type(record)], *record])
    return _LENGTH.pack(len(content)) + content


class Unpacker:
    """Makes records of the bytes of one connection; hostile bytes are a PipeProtocolError."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.limit = GREETING_BYTES
        """The longest record that is taken; raise it once the peer has shown who it is."""

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def records(self) -> Iterator[Record]:
        """The records that are complete; may be called again after more feed."""
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > self.limit:
                raise PipeProtocolError(
                    f"a record of {length} bytes was announced, {self.limit} are allowed: "
                    "the other end does not speak the protocol of LocalPipe"
                )
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            content = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _parse(content)


def _parse(content: bytes) -> Record:
    try:
        fields: Any = msgpack.unpackb(content)
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise PipeProtocolError(f"a record is no msgpack: {error}") from error
    cls = None
    if isinstance(fields, list) and fields and isinstance(fields[0], str):
        cls = _KINDS.get(fields[0])
    if cls is None:
        raise PipeProtocolError(f"a record of unknown kind came: {content[:40]!r}")
    types = _FIELDS[cls]
    values = fields[1:]
    if len(values) != len(types):
        raise PipeProtocolError(f"a {cls.__name__} record has {len(values)} fields")
    for (name, allowed), value in zip(types, values, strict=True):
        if type(value) not in allowed:
            raise PipeProtocolError(
                f"{name} of a {cls.__name__} record is of type {type(value).__name__}"
            )
    return cls(*values)
