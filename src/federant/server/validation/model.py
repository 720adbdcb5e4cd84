"""A task's model, and what results are judged by: its shape, its numbers' room, its booster."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from federant.server.aggregation import Path as LeafPath
from federant.server.aggregation import leaves
from federant.server.aggregation.numbers import LARGEST, limit_of, reach_of
from federant.server.boosters import MODEL_LIMITS, BoosterShape, booster_in
from federant.server.validation.bodies import Numbers, body_in, dxo_of, mapped, numbers_in
from federant.server.validation.expectation import MODEL_KINDS
from federant.server.validation.shape import ModelShape


class Model:
    """A model in a blob, as far as results are judged by it; holds no tensor."""

    def __init__(self, data: dict[str, Any], shape: ModelShape, path: Path) -> None:
        self.shape = shape
        self._data = data
        self._path = path

    @cached_property
    def room(self) -> dict[LeafPath, float]:
        """By leaf of floating point numbers: how far from 0 all that is added to it may get."""
        frame = mapped(self._path)
        room: dict[LeafPath, float] = {}
        for at, value in leaves(self._data):
            for numbers in numbers_in(value, frame):
                here = limit_of(numbers.dtype) - reach_of(numbers)
                # Of numpy, because Python's min may pass over a NaN.
                room[at] = float(np.minimum(room.get(at, LARGEST), here))
        return room

    @cached_property
    def booster(self) -> BoosterShape:
        """What other boosters must be like; BadBoosterError if the model is none."""
        return booster_in(self._path, MODEL_LIMITS).shape

    def numbers(self, at: LeafPath) -> Iterator[Numbers]:
        """The floating point numbers of a leaf, some at a time."""
        return numbers_in(dict(leaves(self._data))[at], mapped(self._path))


def model_in(path: Path) -> Model | None:
    """The weights in a frame; None if it holds none."""
    found = dxo_of(body_in(path))
    if found is None or found.data_kind not in MODEL_KINDS:
        return None
    shape = ModelShape.of(found.data)
    return None if shape is None else Model(found.data, shape, path)
