"""Arrays as the bytes of a .npy file, in and out without a copy; objects are refused."""

from __future__ import annotations

import io
import math
import tokenize
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy_format

from federant.codec.errors import FrameError

_HEADER_BYTES: Final = 10_000
# What numpy's reader of headers raises for text that somebody made up, literal or token.
_UNREADABLE: Final = (
    *(ValueError, TypeError, EOFError, SyntaxError, RecursionError, MemoryError),
    *(tokenize.TokenError, UserWarning),
)
_PROLOGUE_BYTES: Final = _HEADER_BYTES + 64


def read_npy(data: memoryview) -> np.ndarray[Any, Any]:
    """A view of the data. FrameError for anything that is no whole .npy file of plain values."""
    stream = io.BytesIO(data[:_PROLOGUE_BYTES])
    try:
        version = npy_format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(stream, _HEADER_BYTES)
        elif version == (2, 0):
            shape, fortran, dtype = npy_format.read_array_header_2_0(stream, _HEADER_BYTES)
        else:
            raise ValueError(f"its version {version} is not known here")
    except _UNREADABLE as error:
        raise FrameError(f"an array is no .npy file: {error}") from error
    if dtype.hasobject:
        raise FrameError("an array holds objects, which are never read")
    offset = stream.tell()
    wanted = dtype.itemsize * math.prod(shape)
    if any(length < 0 for length in shape) or wanted != data.nbytes - offset:
        raise FrameError(
            f"an array of shape {shape} and dtype {dtype} takes {wanted} bytes, "
            f"{data.nbytes - offset} are there"
        )
    try:
        return np.ndarray(shape, dtype, data, offset, order="F" if fortran else "C")
    except (ValueError, TypeError) as error:
        raise FrameError(f"an array cannot be made of its header: {error}") from error


def npy_header(array: np.ndarray[Any, Any]) -> bytes:
    """What stands before the bytes of a contiguous array."""
    stream = io.BytesIO()
    npy_format.write_array_header_1_0(stream, npy_format.header_data_from_array_1_0(array))
    return stream.getvalue()
