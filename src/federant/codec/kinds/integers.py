"""Integers that 64 bits do not hold."""

from __future__ import annotations

from msgpack import ExtType

from federant.codec.kinds import codes


def pack_big_int(value: object) -> object:
    """msgpack's hook for what it cannot pack, which after the walk is only this."""
    if type(value) is not int:
        raise TypeError(f"msgpack met a {type(value).__name__} that the walk let pass")
    return ExtType(
        codes.BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    )


def read_big_int(payload: bytes) -> int:
    return int.from_bytes(payload, "little", signed=True)
