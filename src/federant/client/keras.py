"""The weights of a Keras 3 model out and in, on whichever backend, and its epochs as metrics.

Keras chooses its backend by the variable KERAS_BACKEND, before it is imported. A round of a script:

    load_parameters(model, task.data.data)
    model.fit(images, digits, callbacks=[EpochMetrics()])
    result = parameters_of(model)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from federant.client.api import log
from federant.client.fitting import ParameterMismatchError, require_fit
from federant.client.flare_agent import FlareAgent
from federant.exchange import AnalyticsDataType, create_analytic_dxo

try:
    import keras
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"federant.client.keras needs {error.name}, which is not installed: "
        "pip install 'federant[keras]', and one of jax, torch and tensorflow as KERAS_BACKEND says",
        name=error.name,
    ) from error

__all__ = ["EpochMetrics", "ParameterMismatchError", "load_parameters", "parameters_of"]

_ADVICE: Final = (
    "build the same model at every site, and give its layers names: those that Keras makes up "
    "count on (dense, dense_1) with each layer that the process has made"
)


def parameters_of(model: keras.Model, *, trainable_only: bool = False) -> dict[str, NDArray[Any]]:
    """Copies of the model's weights by their paths, ``dense/kernel``, as numpy arrays.

    ``trainable_only`` leaves out what is frozen, and what batch normalisation counts.

    ValueError if the model is not built yet, or two weights have one path.
    """
    variables = _variables(model, trainable_only=trainable_only)
    # Copies, because a backend may train on in the memory that it shows.
    return {
        path: np.array(keras.ops.convert_to_numpy(variable.value))
        for path, variable in variables.items()
    }


def load_parameters(
    model: keras.Model, params: Mapping[str, Any] | None, *, trainable_only: bool = False
) -> None:
    """Assigns a received model's arrays to the weights; each keeps its dtype.

    A model without any parameters (None, ``{}``) loads nothing: it is what the first round of a job
    without an initial model brings, and each trainer begins with its own.

    ParameterMismatchError, with nothing changed, if it does not fit; ValueError as of
    ``parameters_of``.
    """
    if not params:
        return
    variables = _variables(model, trainable_only=trainable_only)
    shapes = {path: tuple(variable.shape) for path, variable in variables.items()}
    require_fit(shapes, params, model="model", advice=_ADVICE)
    for path, variable in variables.items():
        variable.assign(np.asarray(params[path]))


class EpochMetrics(keras.callbacks.Callback):
    """Logs what Keras measures in each epoch; the epochs of all rounds are counted on.

    By ``federant.client.log``, after ``init``, or by the agent that is given.
    """

    def __init__(self, agent: FlareAgent | None = None) -> None:
        super().__init__()
        self._agent = agent
        self._epochs = 0

    def on_epoch_end(self, _epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        for name, value in (logs or {}).items():
            self._log(name, float(value))
        self._epochs += 1

    def _log(self, name: str, value: float) -> None:
        kind = AnalyticsDataType.SCALAR
        if self._agent is None:
            log(name, value, kind, global_step=self._epochs)
        else:
            self._agent.log(create_analytic_dxo(name, value, kind, global_step=self._epochs))


def _variables(model: keras.Model, *, trainable_only: bool) -> dict[str, Any]:
    if not model.built:
        raise ValueError(
            f"model {model.name!r} has no weights yet: begin it with keras.Input, or call "
            "build(input_shape) first"
        )
    variables: dict[str, Any] = {}
    for variable in model.trainable_weights if trainable_only else model.weights:
        # A name that Keras makes up for a model counts on too, and says nothing.
        path = variable.path.removeprefix(f"{model.name}/")
        if path in variables:
            raise ValueError(
                f"two weights of model {model.name!r} have the path {path!r}; give its layers "
                "different names"
            )
        variables[path] = variable
    return variables
