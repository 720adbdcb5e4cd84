"""Members of this package's enums, by name."""

from __future__ import annotations

from enum import Enum

from msgpack import ExtType

from federant.codec.errors import FrameError
from federant.codec.kinds import codes
from federant.codec.writer import Writer
from federant.exchange import AnalyticsDataType, DataKind, LogWriterName, ParamsType

ENUM_TYPES: tuple[type[Enum], ...] = (DataKind, AnalyticsDataType, LogWriterName, ParamsType)

_PAYLOADS = {
    member: f"{kind.__name__}.{member.name}".encode() for kind in ENUM_TYPES for member in kind
}
_MEMBERS = {payload: member for member, payload in _PAYLOADS.items()}


def write_enum(_writer: Writer, member: Enum) -> object:
    return ExtType(codes.ENUM, _PAYLOADS[member])


def read_enum(payload: bytes) -> object:
    member = _MEMBERS.get(payload)
    if member is None:
        raise FrameError(f"the envelope has an unknown enum member {payload[:64]!r}")
    return member
