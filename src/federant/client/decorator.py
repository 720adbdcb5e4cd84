"""Decorators round a script's own functions: the model comes in, what they return goes out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from numbers import Real
from typing import Any

from federant.client.api import get_context, receive
from federant.exchange import FLModel

__all__ = ["evaluate", "train"]

METRIC_NAME = "metric"
"""The name of a score that an evaluation returns as a mere number."""

_Function = Callable[..., Any]


def train(_func: _Function | None = None, **_: Any) -> Any:
    """The decorated function gets the received model as its first argument; it returns an FLModel.

    Any value that its caller passes as that argument is replaced. What it returns is sent, with the
    scores that a function decorated with ``evaluate`` found for the same model, unless it has
    metrics of its own. TypeError if it returns something else: of many processes that go together,
    in all of them if rank 0's does. Keywords of the decorator are accepted and mean nothing.
    """

    def decorate(function: _Function) -> _Function:
        first = _first_parameter(function)

        def require_model(trained: object) -> None:
            if not isinstance(trained, FLModel):
                raise TypeError(
                    f"{function.__name__}, decorated with train, must return an FLModel, "
                    f"it returned {trained!r:.100}"
                )

        @functools.wraps(function)
        def train_and_send(*args: Any, **kwargs: Any) -> Any:
            trained = _called(function, first, receive(), args, kwargs)
            api = get_context().api
            if isinstance(trained, FLModel) and trained.metrics is None:
                trained.metrics = api.evaluation
            api.send(trained, check=require_model)
            return trained

        return train_and_send

    return decorate if _func is None else decorate(_func)


def evaluate(_func: _Function | None = None, **_: Any) -> Any:
    """The decorated function gets the received model as its first argument; it returns scores.

    They are a dict, or a number, which gets the name METRIC_NAME. Where the task is to train, they
    wait for the function decorated with ``train``, to be called after; else they are sent.
    TypeError if something else is returned, as with ``train``.
    """

    def decorate(function: _Function) -> _Function:
        first = _first_parameter(function)

        @functools.wraps(function)
        def evaluate_and_keep(*args: Any, **kwargs: Any) -> Any:
            scores = _called(function, first, receive(), args, kwargs)
            api = get_context().api
            # In rank 0 alone: the scores of the others count for nothing, and may be none.
            api.keep_evaluation(lambda: _as_metrics(function, scores))
            if not api.is_train():
                api.send(FLModel(metrics=api.evaluation))
            return scores

        return evaluate_and_keep

    return decorate if _func is None else decorate(_func)


def _first_parameter(function: _Function) -> str:
    name = next(iter(inspect.signature(function).parameters), None)
    if name is None:
        raise TypeError(
            f"{function.__name__} takes no argument: its first one is to be the received model"
        )
    return name


def _called(
    function: _Function,
    first: str,
    model: FLModel | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    kwargs.pop(first, None)
    return function(model, *args[1:], **kwargs)


def _as_metrics(function: _Function, scores: Any) -> dict[str, Any]:
    if isinstance(scores, dict):
        return scores
    if isinstance(scores, Real):
        return {METRIC_NAME: float(scores)}
    raise TypeError(
        f"{function.__name__}, decorated with evaluate, must return a dict of scores or a number, "
        f"it returned {scores!r:.100}"
    )
