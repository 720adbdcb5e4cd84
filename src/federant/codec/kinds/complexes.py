"""Python's complex numbers."""

from __future__ import annotations

import struct

from msgpack import ExtType

from federant.codec.errors import FrameError
from federant.codec.kinds import codes
from federant.codec.writer import Writer

_PARTS = struct.Struct("<dd")


def write_complex(_writer: Writer, value: complex) -> object:
    return ExtType(codes.COMPLEX, _PARTS.pack(value.real, value.imag))


def read_complex(payload: bytes) -> object:
    if len(payload) != _PARTS.size:
        raise FrameError(f"a complex number takes 16 bytes, the envelope has {len(payload)}")
    return complex(*_PARTS.unpack(payload))
