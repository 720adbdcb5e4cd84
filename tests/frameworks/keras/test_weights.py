"""A Keras model's weights by their paths, on two of its backends."""

import os
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest

from federant.client.keras import (
    EpochMetrics,
    ParameterMismatchError,
    load_parameters,
    parameters_of,
)
from federant.exchange import DXO


def network(last: int = 2, **options: Any) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, name="first"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(last, name="last"),
        ],
        **options,
    )


def points() -> tuple[Any, Any]:
    x = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    return x, x[:, :2] - 1


def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def test_weights_have_the_paths_of_their_layers() -> None:
    found = parameters_of(network())
    assert {path: value.shape for path, value in found.items()} == {
        "first/kernel": (3, 4),
        "first/bias": (4,),
        "norm/gamma": (4,),
        "norm/beta": (4,),
        "norm/moving_mean": (4,),
        "norm/moving_variance": (4,),
        "last/kernel": (4, 2),
        "last/bias": (2,),
    }
    assert all(type(value) is np.ndarray for value in found.values())


def test_the_name_of_the_model_itself_is_not_in_them() -> None:
    assert parameters_of(network(name="mine")).keys() == parameters_of(network()).keys()


def test_only_what_is_trained_can_be_asked_for() -> None:
    model = network()
    model.get_layer("first").trainable = False
    wanted = ["norm/gamma", "norm/beta", "last/kernel", "last/bias"]
    found = parameters_of(model, trainable_only=True)
    assert list(found) == wanted
    load_parameters(model, {path: value + 1 for path, value in found.items()}, trainable_only=True)
    assert parameters_of(model)["last/bias"].tolist() == [1, 1]


def test_weights_make_another_model_predict_alike() -> None:
    x, y = points()
    trained, other = network(), network()
    trained.compile("sgd", "mse")
    trained.fit(x, y, verbose=0)
    load_parameters(other, parameters_of(trained))
    assert equal(parameters_of(other), parameters_of(trained))
    np.testing.assert_array_equal(other.predict(x, verbose=0), trained.predict(x, verbose=0))


def test_what_was_read_does_not_change_while_the_model_trains_on() -> None:
    x, y = points()
    model = network()
    kept = parameters_of(model)
    before = {path: value.copy() for path, value in kept.items()}
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    assert equal(kept, before)
    assert not equal(parameters_of(model), before)


def test_training_goes_on_from_what_was_loaded_in_a_model_that_was_compiled_before() -> None:
    x, y = points()
    model = network()
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    model.fit(x, y, verbose=0)
    far = {path: value + 100 for path, value in parameters_of(model).items()}
    load_parameters(model, far)
    model.fit(x, y, verbose=0)
    assert parameters_of(model)["last/bias"].min() > 90


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_model_without_parameters_loads_nothing(nothing: Any) -> None:
    model = network()
    before = parameters_of(model)
    load_parameters(model, nothing)
    assert equal(parameters_of(model), before)


def test_a_model_of_another_shape_is_refused_by_path_and_changes_nothing() -> None:
    model = network()
    before = parameters_of(model)
    with pytest.raises(ParameterMismatchError) as caught:
        load_parameters(model, parameters_of(network(last=5)))
    assert set(caught.value.misfits) == {"last/kernel", "last/bias"}
    assert equal(parameters_of(model), before)


def test_names_that_keras_made_up_are_named_in_the_refusal() -> None:
    first, second = (keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]) for _ in range(2))
    with pytest.raises(ParameterMismatchError, match="give its layers names"):
        load_parameters(second, parameters_of(first))


def test_a_model_that_is_not_built_says_how() -> None:
    with pytest.raises(ValueError, match=r"has no weights yet: begin it with keras.Input"):
        parameters_of(keras.Sequential([keras.layers.Dense(2)]))


def test_an_agent_can_be_given_the_metrics_of_each_epoch() -> None:
    class Agent:
        def __init__(self) -> None:
            self.records: list[DXO] = []

        def log(self, record: DXO) -> bool:
            self.records.append(record)
            return True

    x, y = points()
    model, agent = network(), Agent()
    model.compile("sgd", "mse")
    metrics = EpochMetrics(agent)
    for _ in range(2):
        model.fit(x, y, epochs=2, verbose=0, callbacks=[metrics])
    found = [(each.data["track_key"], each.data["global_step"]) for each in agent.records]
    assert found == [("loss", 0), ("loss", 1), ("loss", 2), ("loss", 3)]


def test_weights_go_out_and_in_on_torch_too() -> None:
    code = """
import keras, numpy as np
from federant.client.keras import load_parameters, parameters_of
assert keras.backend.backend() == "torch"
def network():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="only")])
model, other = network(), network()
kept = parameters_of(model)
before = kept["only/kernel"].copy()
model.compile("sgd", "mse")
model.fit(np.ones((8, 3)), np.ones((8, 2)), verbose=0)
assert (kept["only/kernel"] == before).all()
load_parameters(other, parameters_of(model))
x = np.ones((1, 3))
assert (other.predict(x, verbose=0) == model.predict(x, verbose=0)).all()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
