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
    who = f"this {model}"
    raise mismatch(who, missing, unexpected, misfits, advice=advice, kind=model)


def mismatch(
    who: str,
    missing: tuple[str, ...],
    unexpected: tuple[str, ...],
    misfits: Mapping[str, str],
    *,
    advice: str,
    kind: str,
    strict: bool = True,
) -> ParameterMismatchError:
    """The error that says all of this by name; without ``strict`` of the misfits alone.

    ``who`` is what the model does not fit, a ``kind``.
    """
    found = []
    if strict and missing:
        found.append(f"it lacks {listed(missing)}")
    if strict and unexpected:
        found.append(f"it has {listed(unexpected)}, which the {kind} has not")
    found += [f"{name!r} {why}" for name, why in list(misfits.items())[:_NAMES_SHOWN]]
    if len(misfits) > _NAMES_SHOWN:
        found.append(f"and {len(misfits) - _NAMES_SHOWN} more do not fit")
    return ParameterMismatchError(
        f"the received model does not fit {who}: {'; '.join(found)}. Nothing was loaded; {advice}",
        *(missing, unexpected, misfits),
    )


def listed(names: Collection[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(repr(name) for name in list(names)[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
