"""The models that are sent to and fro, and how a trainer reads one.

The peers' processes use it too, so it needs nothing but numpy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Model = dict[str, npt.NDArray[np.float32]]

ARRAYS = 10
MB = 1_000_000
_VALUES_A_PAGE = 4096 // 4


def make_model(size: int, arrays: int = ARRAYS) -> Model:
    """So many bytes of float32 in so many arrays of one length; a single float if that is less."""
    length = size // 4 // arrays
    if not length:
        return {"w": np.ones(1, np.float32)}
    return {f"w{number}": np.ones(length, np.float32) for number in range(arrays)}


def read(model: Model) -> float:
    """Looks at one value in each page of memory."""
    return float(sum(values[::_VALUES_A_PAGE].sum() for values in model.values()))


def size_text(size: int) -> str:
    for unit, factor in (("GB", 1000 * MB), ("MB", MB), ("KB", 1000)):
        if size >= factor:
            return f"{size / factor:g} {unit}"
    return "1 float"
