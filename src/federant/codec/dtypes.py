"""Which dtypes travel, and under which names: safetensors' own, ours for those it lacks.

A name of ours is parsed by a closed grammar, never evaluated; the bytes of such an array lie in the
frame as U8. bfloat16 and the float8 types are those of ml_dtypes, imported when one is met.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from federant.codec.errors import FrameError

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("bool"),
    "I8": np.dtype("i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
}
"""numpy's dtype for each of safetensors' names, as far as numpy has one."""

ML_DTYPES: Final = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
"""ml_dtypes' name for each of safetensors' other names that are taken."""

ITEM_SIZES: Final = {
    **{name: dtype.itemsize for name, dtype in DTYPES.items()},
    **{name: 2 if name == "BF16" else 1 for name in ML_DTYPES},
}
"""Bytes of an element, by safetensors' name: what may stand in a frame's header."""

_OWN_ML_DTYPES: Final = frozenset({"float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz"})
"""Those of ml_dtypes that safetensors lacks; they travel under ml_dtypes' name."""

_OWN: Final = re.compile(
    r"[<>]c16"
    r"|[<>][mM]8(\[([1-9]\d{0,9})?(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
    r"|\|[SV][1-9]\d{0,8}"
    r"|[<>]U[1-9]\d{0,7}"
)
"""The names of ours that are numpy's own way of writing a dtype."""

_LONG_DOUBLE: Final = re.compile(r"([<>])([fc])(\d{2})m(\d{1,3})")
"""A long double: byte order, float or complex, bytes of an element, bits of the mantissa."""

_MANTISSA: Final = np.finfo(np.longdouble).nmant
_LONG_DOUBLE_SIZES: Final = {
    "f": np.dtype(np.longdouble).itemsize,
    "c": np.dtype(np.clongdouble).itemsize,
}

TRAVELLING: Final = (
    "bool, int8 to int64, uint8 to uint64, float16 to longdouble, complex64 to clongdouble, "
    "bfloat16, float8_*, datetime64, timedelta64, and strings and void of a fixed size"
)
"""The dtypes that travel, for an error message."""


class Form(NamedTuple):
    """How arrays of a dtype are written."""

    name: str
    """safetensors' name of the dtype, or ours."""
    own: bool
    """Whether the name is ours, and safetensors sees bytes (U8)."""
    big_endian: bool
    """Whether the bytes are swapped as they are written, and again when they are read."""
    view: np.dtype[Any] | None
    """What the array is looked at as before it is written, if not as itself."""
    written: np.dtype[Any]
    """The dtype of what is written."""


def form_of(dtype: np.dtype[Any]) -> Form | None:
    """How arrays of this dtype travel; None if they do not."""
    return _FORMS.get(dtype) or _find_form(dtype)


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The dtype with a name of safetensors' or of ours; FrameError if there is none."""
    dtype = DTYPES.get(name)
    return _parse(name) if dtype is None else dtype


def is_own_name(name: str) -> bool:
    """Whether safetensors does not know a dtype by this name."""
    return name not in ITEM_SIZES


_FORMS: Final = {
    found: Form(name, False, found != dtype, None, dtype)
    for name, dtype in DTYPES.items()
    for found in (dtype.newbyteorder(">"), dtype)
}


@lru_cache(maxsize=256)
def _find_form(dtype: np.dtype[Any]) -> Form | None:
    if dtype.type.__module__ == "ml_dtypes":
        name = next((name for name, known in ML_DTYPES.items() if known == dtype.name), None)
        if name is not None:
            raw = np.dtype(f"u{dtype.itemsize}")
            return Form(name, False, False, raw, raw.newbyteorder("<"))
        if dtype.name in _OWN_ML_DTYPES:
            return Form(dtype.name, True, False, np.dtype("u1"), np.dtype("u1"))
        return None
    if dtype.type in (np.longdouble, np.clongdouble):
        order = ">" if dtype == dtype.newbyteorder(">") else "<"
        own = f"{order}{dtype.kind}{dtype.itemsize}m{_MANTISSA}"
    else:
        own = dtype.str
    if dtype.fields is not None or dtype.subdtype is not None or _parsed(own) != dtype:
        return None
    return Form(own, True, False, None, dtype)


def _parse(name: str) -> np.dtype[Any]:
    dtype = _parsed(name)
    if dtype is None:
        raise FrameError(f"the frame names the unknown dtype {name[:64]!r}")
    return dtype


@lru_cache(maxsize=256)
def _parsed(name: str) -> np.dtype[Any] | None:
    ml_name = ML_DTYPES.get(name, name if name in _OWN_ML_DTYPES else None)
    if ml_name is not None:
        import ml_dtypes

        ml_dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, ml_name))
        return ml_dtype
    if _OWN.fullmatch(name):
        try:
            return np.dtype(name)
        except (TypeError, ValueError, OverflowError) as error:
            raise FrameError(f"the frame names the impossible dtype {name!r}: {error}") from error
    found = _LONG_DOUBLE.fullmatch(name)
    if found is None:
        return None
    order, kind, size, mantissa = found.groups()
    if int(size) != _LONG_DOUBLE_SIZES[kind] or int(mantissa) != _MANTISSA:
        raise FrameError(
            f"the frame has long doubles of {size} bytes with {mantissa} bits of mantissa, which "
            "this machine does not have: send them as float64 or complex128"
        )
    dtype: np.dtype[Any] = np.dtype(np.longdouble if kind == "f" else np.clongdouble)
    return dtype.newbyteorder("<" if order == "<" else ">")
