"""set and frozenset; their members stay in the header, since no array can be one."""

from __future__ import annotations

from typing import Any

from msgpack import ExtType

from federant.codec.kinds import codes
from federant.codec.kinds.hashing import check_hashes, comparing
from federant.codec.reader import Reader
from federant.codec.writer import Writer

_SET = ExtType(codes.SET, b"")
_FROZENSET = ExtType(codes.FROZENSET, b"")


def write_set(writer: Writer, value: set[Any] | frozenset[Any]) -> object:
    writer.enter(1 + len(value))
    mark = _SET if type(value) is set else _FROZENSET
    return [mark, *[writer.inlined(item, item) for item in value]]


def read_set(reader: Reader, rest: list[Any], depth: int) -> set[Any]:
    members = _members(reader, rest, depth)
    with comparing("set", "member"):
        return set(members)


def read_frozenset(reader: Reader, rest: list[Any], depth: int) -> frozenset[Any]:
    members = _members(reader, rest, depth)
    with comparing("set", "member"):
        return frozenset(members)


def _members(reader: Reader, rest: list[Any], depth: int) -> list[Any]:
    members = reader.sequence(rest, depth)
    check_hashes(members, "set", "member")
    return members
