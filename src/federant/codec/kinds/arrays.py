"""numpy's arrays, which become tensors, and its scalars, which stay in the envelope."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgpack import ExtType

from federant.codec.dtypes import DTYPES, TRAVELLING, form_of, numpy_dtype
from federant.codec.errors import FrameError
from federant.codec.kinds import codes, records
from federant.codec.kinds.padding import may_have_padding, without_padding
from federant.codec.records import is_record
from federant.codec.writer import Writer

SCALAR_TYPES: frozenset[type] = frozenset(dtype.type for dtype in DTYPES.values())
"""The types of most scalars; the rest are known by np.generic, from which all derive."""

_IN_TEXT = "SU"
"""The kinds of dtype whose scalars are written as text and bytes are, not as arrays are."""


def write_array(writer: Writer, array: np.ndarray[Any, Any]) -> object:
    if is_record(array.dtype):
        return records.write_array(writer, array)
    form = form_of(array.dtype)
    if form is None:
        raise writer.refusal(f"it is an array of dtype {array.dtype}; {_ADVICE}")
    if form.big_endian:
        code = codes.BIG_ENDIAN_TENSOR
    else:
        code = codes.TYPED_TENSOR if form.own else codes.TENSOR
    if may_have_padding(array.dtype):
        array = without_padding(array)
    return ExtType(code, writer.set_aside(array, form))


def write_scalar(writer: Writer, value: np.generic) -> object:
    if isinstance(value, np.void) and is_record(value.dtype):
        return records.write_record(writer, value)
    form = form_of(value.dtype)
    if form is None:
        raise writer.refusal(f"it is a numpy scalar of dtype {value.dtype}; {_ADVICE}")
    array = np.asarray(value, form.written if form.view is None else None)
    raw = (without_padding(array) if may_have_padding(array.dtype) else array).tobytes()
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


_ADVICE = f"of these dtypes arrays travel: {TRAVELLING}, and records of these"
