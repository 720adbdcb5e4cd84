"""What the numbers of a dtype are: their kind, how large they may be, how a mean becomes one.

For numpy's dtypes and for bfloat16 and the float8 types, which numpy itself does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

AVERAGED: Final = "biufc"
"""The kinds of dtype of which there is a mean."""

LARGEST: Final = 2.0**900
"""The largest number in a model whose sums over any sites, with sane weights, fit float64."""

_FIELDS_SHOWN: Final = 5
_CHUNK: Final = 32 * 1024
"""Elements rounded at a time."""


def kind_of(dtype: np.dtype[Any]) -> str:
    """numpy's letter for the kind of a dtype, ``f`` also for bfloat16 and float8."""
    return "f" if _is_small_float(dtype) else dtype.kind


def dtype_text(dtype: np.dtype[Any]) -> str:
    """A dtype in a few words, also where whoever made it up gave it a thousand fields."""
    if dtype.names is None:
        return str(dtype)
    names = ", ".join(f"{name!r:.40}" for name in dtype.names[:_FIELDS_SHOWN])
    rest = len(dtype.names) - _FIELDS_SHOWN
    return f"record with the fields {names}" + (f" and {rest} more" if rest > 0 else "")


def limit_of(dtype: np.dtype[Any]) -> float:
    """The largest floating point number that a model may hold in this dtype."""
    find: Callable[[np.dtype[Any]], Any] = ml_dtypes.finfo if _is_small_float(dtype) else np.finfo
    return min(float(find(dtype).max), LARGEST)


def reach_of(numbers: NDArray[Any]) -> float:
    """How far from 0 the numbers get (the parts of complex ones); NaN if one of them is NaN."""
    parts = numbers.view(numbers.real.dtype)
    if parts.itemsize in (2, 4, 8):
        # Without their sign, floats are in the order of their bits, infinity behind all numbers and
        # NaN behind infinity: that takes one pass, which is a fast one for the small ones too.
        bits = parts.view(np.dtype(f"u{parts.itemsize}").newbyteorder(parts.dtype.byteorder))
        farthest = np.bitwise_and(bits, np.iinfo(bits.dtype).max >> 1).max(initial=0)
        return float(farthest.view(parts.dtype.newbyteorder("=")))
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.abs(parts.astype(np.float64)).max(initial=0))


def summed_in(dtype: np.dtype[Any], accumulator: DTypeLike = np.float64) -> np.dtype[Any]:
    """The dtype for sums of numbers of this one: the accumulator's, or more where that is less."""
    if _is_small_float(dtype) or kind_of(dtype) in "biu":
        return np.dtype(accumulator)
    if dtype.kind == "c":
        least = np.clongdouble if dtype.itemsize > 16 else np.complex64
        return np.result_type(accumulator, least)
    return np.result_type(accumulator, np.longdouble if dtype.itemsize > 8 else np.float16)


def rounded(total: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Floating point numbers in another dtype, each rounded once, to the nearest.

    FloatingPointError for one that has no finite value there.
    """
    with np.errstate(over="raise", invalid="raise"):
        if not _is_small_float(dtype):
            return total.astype(dtype, copy=False)
        found = np.empty(total.shape, dtype)
        into, numbers = found.reshape(-1), total.reshape(-1)
        for start in range(0, total.size, _CHUNK):
            part = _as_singles(numbers[start : start + _CHUNK]).astype(dtype)
            if not np.isfinite(part.astype(np.float32)).all():
                raise FloatingPointError(f"a number is none of those that {dtype} has")
            into[start : start + _CHUNK] = part
        return found


def _as_singles(numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Rounded to odd: what float32 cannot hold gets its last bit set.

    So it is seen in the next rounding that the number was not this one, and two roundings come to
    what one would (Boldo and Melquiond, 2008); ml_dtypes itself rounds float64 to bfloat16 in two.
    """
    with np.errstate(over="ignore", under="ignore"):
        singles = numbers.astype(np.float32)
    bits = singles.view(np.uint32)
    inexact = singles != numbers
    bits -= np.abs(singles) > np.abs(numbers)  # one step towards zero
    bits |= inexact
    return singles


def _is_small_float(dtype: np.dtype[Any]) -> bool:
    return dtype.type.__module__ == "ml_dtypes"
