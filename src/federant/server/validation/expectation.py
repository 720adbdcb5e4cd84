"""What a task's result is to be: kinds of DXO, or trees; and how the task's row keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from federant.exchange import DataKind

MODEL_KINDS: Final = (DataKind.WEIGHTS, DataKind.WEIGHT_DIFF)
"""The kinds that are added into a model."""

_KINDS: Final = "kinds"
_BOOSTING_ROUNDS: Final = "boosting_rounds"


@dataclass(frozen=True, slots=True)
class ExpectedTrees:
    """What a task may ask for: WEIGHTS that are a booster, of no more boosting rounds than this."""

    rounds: int


Expected = Sequence[str] | ExpectedTrees
"""What a task may ask for: kinds of DXO, or trees."""


def expectation(expect: Expected) -> dict[str, Any]:
    """What a task's result is to be, as the task's row keeps it; no kinds: anything."""
    if isinstance(expect, ExpectedTrees):
        return {_KINDS: [str(DataKind.WEIGHTS)], _BOOSTING_ROUNDS: expect.rounds}
    return {_KINDS: [str(kind) for kind in expect]}


def expected_kinds(expect: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(expect.get(_KINDS, ()))


def expected_rounds(expect: Mapping[str, Any]) -> int | None:
    """Up to how many boosting rounds the result may bring; None where no trees are asked for."""
    return expect.get(_BOOSTING_ROUNDS)
