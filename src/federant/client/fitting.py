"""Whether a received model fits the one at hand, by name and shape; knows no framework."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

_NAMES_SHOWN: Final = 8


class ParameterMismatchError(ValueError):
    """A received model does not fit the one at hand; nothing of it was loaded.

    `missing`: names that the one at hand has and the received one lacks. `unexpected`: the reverse.
    `misfits`: why the value under a name cannot be loaded.
    """

    def __init__(
        self,
        message: str,
        missing: tuple[str, ...],
        unexpected: tuple[str, ...],
        misfits: Mapping[str, str],
    ) -> None:
        super().__init__(message)
        self.missing = missing
        self.unexpected = unexpected
        self.misfits = dict(misfits)


def require_fit(
    shapes: Mapping[str, tuple[int, ...]], params: Mapping[str, Any], *, model: str, advice: str
) -> None:
    """ParameterMismatchError that says by name what is missing, too much, or of another shape.

    ``shapes`` is what each parameter of the model at hand has; ``model`` is what the error calls
    it, ``advice`` what it says to do.
    """
    missing = tuple(name for name in shapes if name not in params)
    unexpected = tuple(name for name in params if name not in shapes)
    misfits = {
        name: f"has shape {shape} here, {np.shape(params[name])} in the received model"
        for name, shape in shapes.items()
        if name in params and np.shape(params[name]) != shape
    }
    if not (missing or unexpected or misfits):
        return
    found = []
    if missing:
        found.append(f"it lacks {_shown(missing)}")
    if unexpected:
        found.append(f"it has {_shown(unexpected)}, which the {model} has not")
    found += [f"{name!r} {why}" for name, why in list(misfits.items())[:_NAMES_SHOWN]]
    if len(misfits) > _NAMES_SHOWN:
        found.append(f"and {len(misfits) - _NAMES_SHOWN} more do not fit")
    raise ParameterMismatchError(
        f"the received model does not fit this {model}: {'; '.join(found)}. Nothing was loaded; "
        f"{advice}",
        *(missing, unexpected, misfits),
    )


def _shown(names: Collection[str]) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
