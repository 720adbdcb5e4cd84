"""Names, shapes and dtypes: whether a result can be added to its model, whatever is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from federant.codec import TensorSpan
from federant.exchange import DXO, DataKind, ReturnCode
from federant.server.aggregation import Path as LeafPath
from federant.server.aggregation import leaves, path_text, text_of
from federant.server.aggregation.numbers import AVERAGED, dtype_text, kind_of
from federant.server.validation.refusal import Refusal

_NAMES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The names in a model, each with its shape and dtype; holds no tensor.

    ``parts`` has None for a value that is no number: it is not compared.
    """

    parts: Mapping[LeafPath, tuple[tuple[int, ...], np.dtype[Any]] | None]

    @classmethod
    def of(cls, data: object) -> ModelShape | None:
        """Of a model's data, with arrays or with their TensorSpans; None if there is nothing."""
        parts = {path: _part(value) for path, value in leaves(data)}
        return cls(parts) if parts else None

    def refusal(self, result: DXO) -> Refusal | None:
        """Why the weights or the difference do not fit this model, or None if they do."""
        found = {path: _part(value) for path, value in leaves(result.data)}
        if found.keys() != self.parts.keys():
            lacking = self.parts.keys() - found.keys()
            extra = found.keys() - self.parts.keys()
            problems = [f"the result lacks {_shown(lacking)}"] if lacking else []
            if extra:
                who = "it" if lacking else "the result"
                problems.append(f"{who} has {_shown(extra)}, which the model does not have")
            return Refusal(
                ReturnCode.RESULT_WRONG_NAMES,
                f"{'; '.join(problems)}; return all of the model and nothing else",
            )
        difference = result.data_kind == DataKind.WEIGHT_DIFF
        for path, wanted in self.parts.items():
            refusal = _part_refusal(path_text(path), wanted, found[path], difference=difference)
            if refusal is not None:
                return refusal
        return None


def no_names_refusal(found: DXO) -> Refusal | None:
    """Why its values have no names: none can be written down for a number of that many digits."""
    for at, _ in leaves(found.data):
        if any(text_of(part) is None for part in at):
            return Refusal(
                ReturnCode.RESULT_WRONG_NAMES,
                f"{path_text(at)!r} is the name of a value in the result; return values under "
                "names that are text",
            )
    return None


def no_mean_refusal(found: DXO) -> Refusal | None:
    """Why an array cannot be added into a model, whatever is in it."""
    for at, value in leaves(found.data):
        if isinstance(value, TensorSpan) and kind_of(value.numpy_dtype) not in AVERAGED:
            return Refusal(
                ReturnCode.RESULT_WRONG_DTYPE,
                f"{path_text(at)!r} is an array of dtype {dtype_text(value.numpy_dtype)}, of which "
                "there is no mean; return "
                + (
                    "it in the meta, or as the list array.tolist()"
                    if value.record is None
                    else "each of its fields as an array of its own (array[name])"
                ),
            )
    return None


def no_numbers_refusal(found: DXO) -> Refusal | None:
    """Why a model without a single number cannot be averaged: one of the results would be kept."""
    parts = (_part(value) for _, value in leaves(found.data))
    if any(part is not None and kind_of(part[1]) in AVERAGED for part in parts):
        return None
    names = _shown({(name,) for name in found.data})
    return Refusal(
        ReturnCode.RESULT_WRONG_KIND,
        f"there is nothing to be averaged in the result, no number is in {names}; return the "
        "parameters as numpy arrays (numpy.asarray) or tensors",
    )


def _part(value: object) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    if isinstance(value, TensorSpan):
        return value.shape, value.numpy_dtype
    if isinstance(value, np.ndarray | np.generic):
        return value.shape, value.dtype
    if isinstance(value, bool | int | float | complex):
        # An integer that 64 bits do not hold is not averaged.
        return None if np.asarray(value).dtype == object else ((), np.dtype(type(value)))
    return None


def _part_refusal(
    name: str,
    wanted: tuple[tuple[int, ...], np.dtype[Any]] | None,
    found: tuple[tuple[int, ...], np.dtype[Any]] | None,
    *,
    difference: bool,
) -> Refusal | None:
    if wanted is None:
        if found is None or not found[0]:
            return None
        return Refusal(
            ReturnCode.RESULT_WRONG_SHAPE,
            f"{name!r} has shape {found[0]}, the model's is no array; return what came",
        )
    if found is None:
        return Refusal(
            ReturnCode.RESULT_WRONG_DTYPE,
            f"{name!r} is no number, or one of over 64 bits, the model's is "
            f"{dtype_text(wanted[1])}; return "
            "numbers for numbers",
        )
    if found[0] != wanted[0]:
        return Refusal(
            ReturnCode.RESULT_WRONG_SHAPE,
            f"{name!r} has shape {found[0]}, the model's has {wanted[0]}; return each array in the "
            "shape in which it came",
        )
    # The difference of counts may be a mean already, and that of two bools is no bool.
    fits = found[1] == wanted[1] or (
        difference and wanted[1].kind in "biu" and kind_of(found[1]) in "biuf"
    )
    if not fits:
        return Refusal(
            ReturnCode.RESULT_WRONG_DTYPE,
            f"{name!r} has dtype {dtype_text(found[1])}, the model's has {dtype_text(wanted[1])}; "
            "convert it back before it is returned",
        )
    return None


def _shown(paths: set[LeafPath]) -> str:
    names = sorted(map(path_text, paths))
    rest = len(names) - _NAMES_SHOWN
    text = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    return f"{text} and {rest} more" if rest > 0 else text
