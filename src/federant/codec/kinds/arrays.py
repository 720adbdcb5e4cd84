"""numpy's arrays, which become tensors, and its scalars, which stay in the envelope."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from msgpack import ExtType

from federant.codec.dtypes import DTYPES, TRAVELLING, form_of, numpy_dtype
from federant.codec.errors import FrameError
from federant.codec.kinds import codes
from federant.codec.writer import Writer

SCALAR_TYPES: frozenset[type] = frozenset(dtype.type for dtype in DTYPES.values())
"""The types of most scalars; the rest are known by np.generic, from which all derive."""

CHECKED_KINDS = "bU"
"""The kinds of dtype that not every bytes are values of."""

_LONG_DOUBLES = frozenset({np.longdouble, np.clongdouble})
_X87_MANTISSA, _X87_BYTES = 63, 10
"""The long double of x86: of 12 or 16 bytes it uses ten."""

_IN_TEXT = "SU"
"""The kinds of dtype whose scalars are written as text and bytes are, not as arrays are."""


def write_array(writer: Writer, array: np.ndarray[Any, Any]) -> object:
    form = form_of(array.dtype)
    if form is None:
        raise writer.refusal(f"it is an array of dtype {array.dtype}; {_advice(array.dtype)}")
    if form.big_endian:
        code = codes.BIG_ENDIAN_TENSOR
    else:
        code = codes.TYPED_TENSOR if form.own else codes.TENSOR
    if array.dtype.type in _LONG_DOUBLES:
        array = _without_padding(array)
    return ExtType(code, writer.set_aside(array, form))


def write_scalar(writer: Writer, value: np.generic) -> object:
    form = form_of(value.dtype)
    if form is None:
        advice = _advice(value.dtype)
        raise writer.refusal(f"it is a numpy scalar of dtype {value.dtype}; {advice}")
    array = np.asarray(value, form.written if form.view is None else None)
    raw = (_without_padding(array) if type(value) in _LONG_DOUBLES else array).tobytes()
    return ExtType(codes.NUMPY_SCALAR, form.name.encode() + b":" + raw)


def read_big_endian(array: np.ndarray[Any, Any]) -> object:
    """A copy with the byte order that the sender's array had."""
    return array.astype(array.dtype.newbyteorder(">"))


def read_scalar(payload: bytes) -> object:
    name, _, raw = payload.partition(b":")
    dtype = numpy_dtype(name.decode("ascii", "replace"))
    if dtype.kind in _IN_TEXT or len(raw) != dtype.itemsize:
        raise FrameError(
            f"the envelope has a malformed numpy scalar of dtype {dtype} and {len(raw)} bytes"
        )
    if dtype == np.bool_:
        return np.bool_(raw != b"\0")
    return np.frombuffer(raw, dtype)[0]


def check(array: np.ndarray[Any, Any], name: str) -> None:
    """FrameError if the bytes of the array, contiguous and with this name, are no such values."""
    if array.dtype == np.bool_ and array.view(np.uint8).max(initial=0) > 1:
        raise FrameError(f"tensor {name!r} has dtype BOOL and bytes other than 0 and 1")
    if array.dtype.kind == "U":
        points = array.reshape(-1).view(f"{array.dtype.byteorder}u4")
        if points.max(initial=0) > sys.maxunicode:
            raise FrameError(f"tensor {name!r} has dtype {array.dtype} and bytes that are no text")


def _without_padding(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy of long doubles with zeros in the bytes that they do not use.

    Anything may lie there, also what the sender would not send.
    """
    clean = np.array(array, order="C")
    if np.finfo(np.longdouble).nmant == _X87_MANTISSA:
        used, size = _X87_BYTES, np.dtype(np.longdouble).itemsize
        numbers = clean.reshape(-1).view(np.uint8).reshape(-1, size)
        big_endian = clean.dtype == clean.dtype.newbyteorder(">")
        numbers[:, slice(size - used) if big_endian else slice(used, None)] = 0
    return clean


def _advice(dtype: np.dtype[Any]) -> str:
    if dtype.fields is not None:
        return "put each of its fields into an array of its own"
    return f"of these dtypes arrays travel: {TRAVELLING}"
