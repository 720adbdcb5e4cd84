"""Bytes of an array that are part of no value: they are zeroed, since anything may lie there.

Between the fields of a record, and in the long double of x86, which uses 10 of its bytes.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_X87_MANTISSA: Final = 63
_X87_BYTES: Final = 10
_LONG_DOUBLES: Final = frozenset({np.longdouble, np.clongdouble})


def may_have_padding(dtype: np.dtype[Any]) -> bool:
    """Whether it is worth the look."""
    return dtype.names is not None or dtype.type in _LONG_DOUBLES


def without_padding(array: NDArray[Any]) -> NDArray[Any]:
    """The array, or a contiguous copy of it with zeros in all bytes that are part of no value."""
    unused = ~_used(array.dtype)
    if not unused.any():
        return array
    clean = np.array(array, order="C")
    rows = clean.reshape(-1).view(np.uint8).reshape(-1, unused.size)
    rows[:, unused] = 0
    return clean


def _used(dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """By byte of an element: whether a value lies there."""
    if dtype.names is not None:
        used = np.zeros(dtype.itemsize, np.bool_)
        for name in dtype.names:
            field, offset = dtype.fields[name][:2]  # type: ignore[index]  # it has names
            base, shape = field.subdtype or (field, ())
            used[offset : offset + field.itemsize] |= np.tile(_used(base), prod(shape))
        return used
    used = np.ones(dtype.itemsize, np.bool_)
    if dtype.type in _LONG_DOUBLES and np.finfo(np.longdouble).nmant == _X87_MANTISSA:
        numbers = used.reshape(-1, np.dtype(np.longdouble).itemsize)
        swapped = dtype == dtype.newbyteorder(">")
        numbers[:, slice(-_X87_BYTES) if swapped else slice(_X87_BYTES, None)] = False
    return used
