"""The numbers in a result: a sane weight, and a finite mean, alone or added to the model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from federant.exchange import DXO, DataKind, MetaKey, ReturnCode, get_leaf_dxos
from federant.server.aggregation import leaves, path_text, text_of
from federant.server.aggregation.numbers import limit_of, reach_of, summed_in
from federant.server.validation.bodies import Numbers, mapped, numbers_in
from federant.server.validation.expectation import MODEL_KINDS
from federant.server.validation.model import Model
from federant.server.validation.refusal import Refusal

MAX_WEIGHT: Final = 1e12
"""The largest weight that a result may claim (examples, or steps, in one round)."""


def contents_refusal(found: DXO, path: Path, model: Model | None = None) -> Refusal | None:
    """What is wrong inside a DXO, as far as its kind has rules.

    ``model`` is what a difference is the difference from, if that is known.
    """
    if found.data_kind == DataKind.COLLECTION:
        entries, errors = get_leaf_dxos(found)
        if errors:
            return Refusal(ReturnCode.RESULT_WRONG_KIND, f"in the collection, {errors[0]}")
        refusals = (contents_refusal(entry, path) for entry in entries.values())
        return next((refusal for refusal in refusals if refusal), None)
    if found.data_kind not in MODEL_KINDS:
        return None
    weight = found.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND)
    if weight is not None and not is_sane_weight(weight):
        shown = "a number of very many digits" if text_of(weight) is None else repr(weight)
        return Refusal(
            ReturnCode.RESULT_BAD_WEIGHT,
            f"meta {MetaKey.NUM_STEPS_CURRENT_ROUND} must be a number above 0 and up to "
            f"{MAX_WEIGHT:g}, it is {shown}",
        )
    base = model if found.data_kind == DataKind.WEIGHT_DIFF else None
    return _numbers_refusal(found, path, base)


def is_sane_weight(weight: object) -> bool:
    numbers = int | float | np.integer | np.floating
    if isinstance(weight, bool) or not isinstance(weight, numbers):
        return False
    return bool(0 < weight <= MAX_WEIGHT)


def _numbers_refusal(found: DXO, path: Path, base: Model | None) -> Refusal | None:
    """Why there is no finite mean of these numbers, or of their sums with those of ``base``."""
    frame = mapped(path)
    for at, value in leaves(found.data):
        reached = 0.0
        for numbers in numbers_in(value, frame):
            here = reach_of(numbers)
            if not here <= limit_of(numbers.dtype):
                return _not_finite(path_text(at), "holds", numbers, numbers.dtype)
            reached = max(reached, here)
        # The model is looked at once for all results, and again only for what may be too much.
        if base is None or reached <= base.room.get(at, math.inf):
            continue
        for ours, theirs in zip(base.numbers(at), numbers_in(value, frame), strict=True):
            # In float64, so that what is just beyond the dtype's end is not rounded to it.
            with np.errstate(invalid="ignore"):
                sums = np.add(ours, theirs, dtype=summed_in(ours.dtype))
            if not reach_of(sums) <= limit_of(ours.dtype):
                what = "would hold, with the difference added,"
                return _not_finite(path_text(at), what, sums, ours.dtype)
    return None


def _not_finite(name: str, what: str, numbers: Numbers, dtype: np.dtype[Any]) -> Refusal:
    parts, limit = numbers.view(numbers.real.dtype), limit_of(dtype)
    if parts.dtype.itemsize < 4:
        with np.errstate(invalid="ignore"):  # a NaN may signal
            parts = parts.astype(np.float32)  # of bfloat16 and float8 there is no text
    bad = parts[~(np.abs(parts) <= limit)][0]
    rule = f"of {dtype} go no further than {limit:.5g}" if np.isfinite(bad) else "must be finite"
    return Refusal(
        ReturnCode.RESULT_NOT_FINITE,
        f"{name!r} {what} {bad:.5g}; a model's numbers {rule} (did the training diverge?)",
    )
