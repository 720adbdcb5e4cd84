"""FLModel, what a training script holds: parameters, metrics, rounds. Not how it travels."""

from __future__ import annotations

from enum import StrEnum
from numbers import Integral
from typing import Any


class ParamsType(StrEnum):
    """What an FLModel's params are; a member equals its plain string."""

    FULL = "FULL"
    """The model itself."""
    DIFF = "DIFF"
    """What is to be added to the model that was received."""


class FLModelConst:
    """The names of an FLModel's attributes, which are the keys of a DXO of kind FL_MODEL."""

    PARAMS_TYPE = "params_type"
    PARAMS = "params"
    OPTIMIZER_PARAMS = "optimizer_params"
    METRICS = "metrics"
    CURRENT_ROUND = "current_round"
    START_ROUND = "start_round"
    TOTAL_ROUNDS = "total_rounds"
    META = "meta"


class FLModel:
    """A model on its way between a training script and the federation.

    Args:
        params_type: what ``params`` are, FULL or DIFF; without it params are FULL.
        params: the parameters, as a rule a dict (it may be nested) of arrays, tensors, numbers,
            bytes or None by name.
        optimizer_params: the optimizer's own state; travels as it is and is not averaged.
        metrics: scores by name: numbers, texts, dicts of these.
        start_round: number of the first round, at least 0.
        current_round: number of this round, at least 0; None outside of rounds.
        total_rounds: how many rounds there are.
        meta: further facts by name, such as ``MetaKey.NUM_STEPS_CURRENT_ROUND``.

    Nothing is copied. ValueError for a params_type without params or one that is none, and for a
    negative round; TypeError for a round that is no int, metrics or meta that are no dict.
    """

    def __init__(
        self,
        params_type: str | ParamsType | None = None,
        params: Any = None,
        optimizer_params: Any = None,
        metrics: dict[str, Any] | None = None,
        start_round: int | None = 0,
        current_round: int | None = None,
        total_rounds: int | None = None,
        meta: dict[str, Any] | None = None,
    ) -> None:
        self.params_type = _params_type(params_type, params)
        self.params = params
        self.optimizer_params = optimizer_params
        self.metrics = _dict_or_none("metrics", metrics)
        self.start_round = _round("start_round", start_round)
        self.current_round = _round("current_round", current_round)
        self.total_rounds = _round("total_rounds", total_rounds)
        checked = _dict_or_none("meta", meta)
        self.meta: dict[str, Any] = {} if checked is None else checked

    def summary(self) -> dict[str, Any]:
        """What it holds, by attribute: a dict's length, a number itself, else the type; for logs.

        Attributes that are empty are left out.
        """
        held = vars(self).items()
        return {name: _shown(value) for name, value in held if not _is_empty(value)}

    def __repr__(self) -> str:
        return f"FLModel({', '.join(f'{name}={part}' for name, part in self.summary().items())})"

    __str__ = __repr__


def _params_type(params_type: object, params: object) -> ParamsType | None:
    if params_type is None:
        return None if params is None else ParamsType.FULL
    try:
        found = ParamsType(str(params_type)) if isinstance(params_type, str) else None
    except ValueError:
        found = None
    if found is None:
        raise ValueError(
            f"params_type of an FLModel must be {' or '.join(ParamsType)}, got {params_type!r:.100}"
        )
    if params is None:
        raise ValueError(
            f"an FLModel of params_type {found} needs params, got None: give params, or leave "
            "params_type out for a model that carries only metrics"
        )
    return found


def _round(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(
            f"{name} of an FLModel must be an int of at least 0, or None, got {value!r:.100} of "
            f"type {type(value).__name__}"
        )
    if value < 0:
        raise ValueError(f"{name} of an FLModel must be at least 0, got {value}")
    return int(value)


def _dict_or_none(name: str, value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise TypeError(
            f"{name} of an FLModel must be a dict by name, such as {{'accuracy': 0.9}}, or None, "
            f"got {value!r:.100} of type {type(value).__name__}"
        )
    return value


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, dict | list | tuple | str) and not value)


def _shown(value: object) -> object:
    if isinstance(value, dict | list | tuple):
        return len(value)
    return value if isinstance(value, str | int) else type(value).__name__
