"""The sections of a FOBS file: where the main one and the large values lie; no msgpack here."""

from __future__ import annotations

import struct
import uuid
from enum import IntEnum
from typing import Final, NamedTuple

from federant.codec.errors import FrameError

HEADER: Final = struct.Struct(">BBQ")
"""Marker, kind of object in the datum (0: none), bytes that follow."""
ID_BYTES: Final = 16
_MOST_SECTIONS: Final = 65_536


class Marker(IntEnum):
    MAIN = 100
    TEXT = 101
    BLOB = 102
    FILE = 103


class Sections(NamedTuple):
    """Views of the file."""

    main: memoryview
    datums: dict[str, memoryview | str]
    """By id, as the main section names it: bytes, or text."""


def split(file: memoryview) -> Sections:
    """FrameError for anything that is no sequence of sections."""
    main: memoryview | None = None
    datums: dict[str, memoryview | str] = {}
    at = 0
    while at < file.nbytes:
        if file.nbytes - at < HEADER.size:
            raise FrameError(f"the file ends within the header of a section, at byte {at}")
        marker, dot, size = HEADER.unpack_from(file, at)
        start, at = at + HEADER.size, at + HEADER.size + size
        if size == 0 or at > file.nbytes:
            raise FrameError(
                f"the section at byte {start} claims {size} bytes, {file.nbytes - start} are there"
            )
        if main is None:
            if marker != Marker.MAIN:
                raise FrameError(f"the file begins with {marker}, which marks no main section")
            main = file[start:at]
            continue
        if dot != 0:
            raise FrameError(
                f"a datum of kind {dot} is to be fetched from elsewhere: not known here"
            )
        if size <= ID_BYTES or len(datums) >= _MOST_SECTIONS:
            raise FrameError(f"the datum at byte {start} has no data, or is one too many")
        name = str(uuid.UUID(bytes=bytes(file[start : start + ID_BYTES])))
        datums[name] = _value(marker, file[start + ID_BYTES : at])
    if main is None:
        raise FrameError("the file is empty")
    return Sections(main, datums)


def _value(marker: int, data: memoryview) -> memoryview | str:
    if marker == Marker.BLOB:
        return data
    if marker == Marker.TEXT:
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError as error:
            raise FrameError(f"a datum of text is no text: {error}") from error
    raise FrameError(f"a section is marked {marker}, which is no datum that is taken here")
