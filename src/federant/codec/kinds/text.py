"""Text and bytes, numpy's too: in the envelope while short, tensors of bytes when long."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgpack import ExtType

from federant.codec.dtypes import Form
from federant.codec.errors import FrameError
from federant.codec.kinds import codes
from federant.codec.writer import Writer

INLINE_BYTES = 4096
"""Longer ones travel as U8 tensors, unless they are keys or headers."""

_BYTES = Form("U8", own=False, big_endian=False, view=None, written=np.dtype("u1"))


def write_str(writer: Writer, value: str) -> object:
    if value.isascii():
        if len(value) <= INLINE_BYTES or writer.inline:
            return str(value)
        encoded = value.encode()
    else:
        try:
            encoded = value.encode()
        except UnicodeEncodeError as error:
            raise _no_text(writer, error) from error
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


def write_numpy_str(writer: Writer, value: np.str_) -> object:
    try:
        encoded = value.encode()
    except UnicodeEncodeError as error:
        raise _no_text(writer, error) from error
    if len(encoded) <= INLINE_BYTES or writer.inline:
        return ExtType(codes.NUMPY_STR, encoded)
    return _set_aside(writer, codes.NUMPY_STR_TENSOR, encoded)


def write_numpy_bytes(writer: Writer, value: np.bytes_) -> object:
    if len(value) <= INLINE_BYTES or writer.inline:
        return ExtType(codes.NUMPY_BYTES, bytes(value))
    return _set_aside(writer, codes.NUMPY_BYTES_TENSOR, value)


def read_numpy_str(payload: bytes) -> object:
    return np.str_(_text(payload))


def from_tensor(code: int, array: np.ndarray[Any, Any]) -> str | bytes | bytearray:
    """The text or bytes in a U8 tensor, copied out of it."""
    if array.dtype != np.uint8 or array.ndim != 1:
        raise FrameError(
            f"text and bytes lie in U8 tensors of one dimension, "
            f"this one has dtype {array.dtype} and shape {array.shape}"
        )
    if code == codes.BYTES_TENSOR:
        return array.tobytes()
    if code == codes.NUMPY_BYTES_TENSOR:
        return np.bytes_(array.tobytes())
    if code == codes.BYTEARRAY_TENSOR:
        return bytearray(array.data)
    text = _text(array.data)
    return text if code == codes.TEXT_TENSOR else np.str_(text)


def _text(encoded: bytes | memoryview) -> str:
    try:
        return str(encoded, "utf-8")
    except UnicodeDecodeError as error:
        raise FrameError(f"a text in the frame is no UTF-8: {error}") from error


def _no_text(writer: Writer, error: UnicodeEncodeError) -> TypeError:
    return writer.refusal(
        f"its character {error.start} is half of a surrogate pair, which is no text"
    )


def _set_aside(writer: Writer, code: int, value: bytes | bytearray) -> ExtType:
    return ExtType(code, writer.set_aside(np.frombuffer(value, np.uint8), _BYTES))
