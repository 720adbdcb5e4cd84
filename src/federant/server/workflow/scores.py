"""Numbers that sites report of a model: which ones count, and their weighted mean."""

from __future__ import annotations

import math
from numbers import Real
from typing import Final

import numpy as np

from federant.server.aggregation.numbers import kind_of

MOST_SCORES: Final = 100
"""How many of a site's scores are looked at."""

MOST_CHARS: Final = 200
"""The longest name that a score may have."""


def scores_in(metrics: object, before: str = "") -> dict[str, float]:
    """The finite numbers in a dict by name, those of a dict in it by ``outer/inner``, sorted.

    An array of one element, such as a framework's loss, is its number. Texts and whatever else is
    in it are left out; so is what exceeds the limits above.
    """
    found: dict[str, float] = {}
    if isinstance(metrics, dict):
        for name, value in metrics.items():
            try:
                path = f"{before}{name}"
            except ValueError:  # an int of more digits than Python writes
                continue
            if len(path) > MOST_CHARS:
                continue
            if isinstance(value, dict):
                found |= scores_in(value, f"{path}/")
            elif (score := _score(value)) is not None:
                found[path] = score
    return dict(sorted(found.items())[:MOST_SCORES])


class MeanScores:
    """The weighted mean of each score, over the sites that report it."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._weights: dict[str, float] = {}

    def add(self, metrics: object, weight: float) -> None:
        """Add what a site reports, which may be anything at all."""
        for name, value in scores_in(metrics).items():
            self._sums[name] = self._sums.get(name, 0.0) + weight * value
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def mean(self) -> dict[str, float]:
        """By name, sorted; one that is too large to be a mean is left out."""
        means = {name: total / self._weights[name] for name, total in sorted(self._sums.items())}
        return {name: mean for name, mean in means.items() if math.isfinite(mean)}


def _score(value: object) -> float | None:
    """The finite number that a value is or holds, None if there is none."""
    if isinstance(value, np.ndarray | np.generic):
        if value.size != 1 or kind_of(value.dtype) not in "iuf":
            return None
        number = float(value.reshape(-1)[0])
    elif isinstance(value, bool) or not isinstance(value, Real):
        return None
    else:
        try:
            number = float(value)
        except OverflowError:  # an int that no float can hold
            return None
    return number if math.isfinite(number) else None
