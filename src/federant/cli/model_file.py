"""A model as the file that a person saves: lists and numbers in it as tensors; no file is touched.

What trainers return as Python's lists and numbers stays that on its way, so that each gets back
what it sent. Another program that opens the file sees tensors only.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from federant.codec import FrameError, decode, encode
from federant.exchange import DXO, DataKind, Shareable, from_shareable

_NUMBERS: Final = "biufc"


class ModelFile(NamedTuple):
    """What is to be written, and the names of the values in it that are no tensors."""

    data: bytes
    left: tuple[str, ...]


def model_file(data: bytes) -> ModelFile:
    """The file for a model whose frame is `data`: the same bytes where all of it is tensors.

    A list of numbers, also a nested one, becomes an array of bool, int64, float64 or complex128; a
    number an array without dimensions. Texts, None and numbers of more than 64 bits stay what they
    are.
    """
    try:
        body = decode(data, frameworks=False).body
        model = from_shareable(body) if isinstance(body, Shareable) else body
    except (FrameError, ValueError):
        return ModelFile(data, ())  # as it came: whoever opens it is told what is wrong
    if not isinstance(model, DXO) or model.data_kind not in (
        DataKind.WEIGHTS,
        DataKind.WEIGHT_DIFF,
    ):
        return ModelFile(data, ())
    walk = _Walk()
    changed = DXO(model.data_kind, walk.value(model.data, ()), model.meta)
    if not walk.found:
        return ModelFile(data, tuple(walk.left))
    try:
        return ModelFile(encode(changed).to_bytes(), tuple(walk.left))
    except TypeError:  # more arrays than a frame holds
        return ModelFile(data, (*walk.found, *walk.left))


class _Walk:
    """Through a model's data; arrays stay what they are."""

    def __init__(self) -> None:
        self.found: list[str] = []
        """Names of what has become an array."""
        self.left: list[str] = []
        """Names of what is none."""

    def value(self, value: Any, path: tuple[Any, ...]) -> Any:
        if isinstance(value, np.ndarray):
            return value
        if isinstance(value, dict):
            return {key: self.value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            array = _array(value) if value and _of_numbers(value) else None
            if array is None:
                items = [self.value(item, (*path, at)) for at, item in enumerate(value)]
                return items if isinstance(value, list) else tuple(items)
        else:
            array = _array(value) if _of_numbers(value) else None
        name = ".".join(map(str, path))
        if array is None:
            self.left.append(name)
            return value
        self.found.append(name)
        return array


def _of_numbers(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_of_numbers, value))
    if isinstance(value, np.generic):
        return value.dtype.kind in _NUMBERS or value.dtype.type.__module__ == "ml_dtypes"
    return isinstance(value, bool | int | float | complex)


def _array(value: object) -> np.ndarray[Any, Any] | None:
    """The array of these numbers, None if they are no rectangle or one is of more than 64 bits."""
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return None if array.dtype.hasobject else array
