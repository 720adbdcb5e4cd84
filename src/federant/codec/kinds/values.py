"""Whether bytes that arrived are values of the dtype under which they are to be looked at."""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np

from federant.codec.errors import FrameError

CHECKED_KINDS: Final = "bUV"
"""The kinds of dtype that not every bytes are values of; of the last, those with fields."""


def check(array: np.ndarray[Any, Any], name: str) -> None:
    """FrameError if the bytes of the array with this name are no such values."""
    dtype = array.dtype
    if dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
        raise FrameError(f"tensor {name!r} has dtype BOOL and bytes other than 0 and 1")
    if dtype.kind == "U" and dtype.itemsize:
        # With a dimension more, also where it is a field, whose texts do not lie in a row.
        points = array.view(np.dtype((f"{dtype.byteorder}u4", (dtype.itemsize // 4,))))
        if points.max(initial=0) > sys.maxunicode:
            raise FrameError(f"tensor {name!r} has dtype {dtype} and bytes that are no text")
    for field in dtype.names or ():
        part = array[field]
        if part.dtype.kind in CHECKED_KINDS:
            check(part, f"{name}[{field!r}]")
