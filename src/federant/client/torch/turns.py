"""One task after another for a framework that owns the training loop, from its hooks.

Lightning's and Hugging Face's trainers call their own evaluation and training; this says what
each means for the task in hand. It knows torch's modules, and neither framework.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any

import torch

from federant.client.api_context import APIContext
from federant.client.errors import ApiCallError
from federant.client.torch.group_talker import GroupTalker
from federant.client.torch.state import load_parameters, parameters_of
from federant.exchange import FLModel, MetaKey


class _Answered(Enum):
    """What the last task was that has its result."""

    TRAINING = auto()
    OTHER = auto()
    """An evaluation, or the wish for the site's own model."""


class Turns:
    """Receives a model once, when it is first needed, and sends the one result that is due for it.

    A turn is what a script does between two calls of ``is_running()``: as a rule it evaluates the
    received model, then trains it. Of many processes each has its own, and calls it alike.
    ``trainable_only(module)`` says whether only what is trained travels.
    """

    def __init__(
        self,
        context: APIContext,
        *,
        strict: bool = True,
        trainable_only: Callable[[torch.nn.Module], bool] = lambda _: False,
    ) -> None:
        self._api = context.api
        talker = context.talker
        self._meet: Callable[[], None] = lambda: None
        if isinstance(talker, GroupTalker):
            self._meet = talker.meet
        self._strict = strict
        self._trainable_only = trainable_only
        self._model: FLModel | None = None
        self._names: tuple[str, ...] = ()
        self._answered: _Answered | None = None
        self._metrics: dict[str, float] | None = None
        self._touched = False

    @property
    def is_over(self) -> bool:
        """Whether the turn's task has its result already, though nothing was trained for it."""
        return self._api.held is None and self._answered is _Answered.OTHER

    def begin_evaluation(self, module: torch.nn.Module) -> None:
        """The received model is in the module, unless the turn's result has been sent."""
        self._meet()
        if self._api.held is not None or self._answered is None:
            self._receive(module)

    def begin_training(self, module: torch.nn.Module) -> bool:
        """The same; False if there is nothing to train, because the task wanted something else."""
        self._meet()
        if not self.is_over:
            self._receive(module)
        if self._api.is_evaluate():
            raise ApiCallError(
                f"the task {self._api.get_task_name()!r} asks for scores and not for training: "
                "evaluate the model before you train it, in each turn of the loop"
            )
        return not self.is_over

    def stepped(self) -> None:
        """The module is not the received model any more."""
        self._touched = True

    def evaluated(self, metrics: Mapping[str, Any]) -> None:
        """Scores of what is in the module: they go with the result if that is what was received."""
        if self._touched or self._api.held is None:
            return
        if self._metrics is None:
            self._metrics = _numbers(metrics)
        if self._api.is_evaluate():
            self._send(FLModel(metrics=self._metrics), _Answered.OTHER)

    def trained(self, module: torch.nn.Module, steps: int, meta: Mapping[str, Any]) -> None:
        """Send what is in the module; its weight in a mean is ``steps`` unless ``meta`` says."""
        if self._api.held is None:
            return
        facts = {MetaKey.NUM_STEPS_CURRENT_ROUND: steps, **meta}
        model = FLModel(params=self._params(module), metrics=self._metrics, meta=facts)
        self._send(model, _Answered.TRAINING)

    def _receive(self, module: torch.nn.Module) -> None:
        model = self._api.receive()
        if model is None or model is self._model:
            return
        self._model, self._answered, self._metrics, self._touched = model, None, None, False
        if self._api.is_submit_model():
            self._names = ()
            self._send(FLModel(params=self._params(module)), _Answered.OTHER)
            return
        only = self._trainable_only(module)
        loaded = load_parameters(module, model.params, strict=self._strict, trainable_only=only)
        # What a site returns has the names of the model that it was given.
        self._names = loaded.loaded

    def _params(self, module: torch.nn.Module) -> dict[str, Any]:
        if self._names:
            return parameters_of(module, names=self._names)
        return parameters_of(module, trainable_only=self._trainable_only(module))

    def _send(self, model: FLModel, answered: _Answered) -> None:
        self._answered, self._model, self._metrics = answered, None, None
        self._api.send(model)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Those that are numbers, as Python's own: tensors of one element too."""
    found = {}
    for name, value in metrics.items():
        try:
            found[str(name)] = float(value)
        except (TypeError, ValueError):
            continue
    return found
