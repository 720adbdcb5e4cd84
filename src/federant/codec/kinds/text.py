"""str, bytes and bytearray: in the envelope while short, tensors of bytes when long."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgpack import ExtType

from federant.codec.errors import FrameError
from federant.codec.kinds import codes
from federant.codec.writer import Writer

INLINE_BYTES = 4096
"""Longer ones travel as U8 tensors, unless they are keys or headers."""


def write_str(writer: Writer, value: str) -> object:
    if value.isascii():
        if len(value) <= INLINE_BYTES or writer.inline:
            return str(value)
        encoded = value.encode()
    else:
        try:
            encoded = value.encode()
        except UnicodeEncodeError as error:
            raise writer.refusal(
                f"its character {error.start} is half of a surrogate pair, which is no text"
            ) from error
        if len(encoded) <= INLINE_BYTES or writer.inline:
            return str(value)
    return _set_aside(writer, codes.TEXT_TENSOR, encoded)


def write_bytes(writer: Writer, value: bytes) -> object:
    if len(value) <= INLINE_BYTES or writer.inline:
        return bytes(value)
    return _set_aside(writer, codes.BYTES_TENSOR, value)


def write_bytearray(writer: Writer, value: bytearray) -> object:
    if len(value) <= INLINE_BYTES or writer.inline:
        return ExtType(codes.BYTEARRAY, bytes(value))
    return _set_aside(writer, codes.BYTEARRAY_TENSOR, value)


def from_tensor(code: int, array: np.ndarray[Any, Any]) -> str | bytes | bytearray:
    """The text or bytes in a U8 tensor, copied out of it."""
    if array.dtype != np.uint8 or array.ndim != 1:
        raise FrameError(
            f"text and bytes lie in U8 tensors of one dimension, "
            f"this one has dtype {array.dtype} and shape {array.shape}"
        )
    if code == codes.BYTES_TENSOR:
        return array.tobytes()
    if code == codes.BYTEARRAY_TENSOR:
        return bytearray(array.data)
    try:
        return str(array.data, "utf-8")
    except UnicodeDecodeError as error:
        raise FrameError(f"a text in the frame is no UTF-8: {error}") from error


def _set_aside(writer: Writer, code: int, value: bytes | bytearray) -> ExtType:
    return ExtType(code, writer.set_aside(np.frombuffer(value, np.uint8)))
