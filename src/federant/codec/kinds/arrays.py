"""numpy's arrays, which become tensors, and its scalars, which stay in the envelope."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgpack import ExtType

from federant.codec.errors import FrameError
from federant.codec.kinds import codes
from federant.codec.layout import DTYPES, MAX_DIMENSIONS, dtype_name
from federant.codec.writer import Writer

SCALAR_TYPES: frozenset[type] = frozenset(dtype.type for dtype in DTYPES.values())
_ALLOWED = ", ".join(dtype.name for dtype in DTYPES.values())


def write_array(writer: Writer, array: np.ndarray[Any, Any]) -> object:
    if dtype_name(array.dtype) is None:
        raise writer.refusal(
            f"it is an array of dtype {array.dtype}; arrays of these travel: {_ALLOWED}"
        )
    if array.ndim > MAX_DIMENSIONS:
        raise writer.refusal(f"it has {array.ndim} dimensions, at most {MAX_DIMENSIONS} travel")
    return ExtType(codes.TENSOR, writer.set_aside(array))


def write_scalar(writer: Writer, value: np.generic) -> object:
    name = dtype_name(value.dtype)
    if name is None:
        raise writer.refusal(
            f"it is a numpy scalar of dtype {value.dtype}; scalars of these travel: {_ALLOWED}"
        )
    raw = np.asarray(value, DTYPES[name]).tobytes()
    return ExtType(codes.NUMPY_SCALAR, name.encode() + b":" + raw)


def read_scalar(payload: bytes) -> object:
    name, _, raw = payload.partition(b":")
    dtype = DTYPES.get(name.decode("ascii", "replace"))
    if dtype is None or len(raw) != dtype.itemsize:
        raise FrameError("the envelope has a malformed numpy scalar")
    if dtype == np.bool_:
        return np.bool_(raw != b"\0")
    return np.frombuffer(raw, dtype)[0]
