"""JAX's pytrees as flat dicts of arrays: the same tree comes back, whatever it is made of."""

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from federant.client.jax import ParameterMismatchError, load_parameters, parameters_of
from federant.codec import decode, encode
from federant.exchange import DXO, DataKind


class Moments(NamedTuple):
    mean: Any
    spread: Any


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    weight: Any
    bias: Any


class Network(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.last = nnx.Linear(4, 2, rngs=rngs)


class Perceptron(linen.Module):
    @linen.compact
    def __call__(self, inputs: Any) -> Any:
        return linen.Dense(2)(linen.relu(linen.Dense(4)(inputs)))


def perceptron() -> Any:
    return Perceptron().init(jax.random.key(0), jnp.ones((1, 3)))


TREES: dict[str, tuple[Any, list[str]]] = {
    "nested dicts": (
        {"hidden": {"w": jnp.ones((3, 4)), "b": jnp.zeros(4)}, "scale": jnp.float32(2)},
        ["hidden.b", "hidden.w", "scale"],
    ),
    "lists and tuples": ([(jnp.ones(2), jnp.zeros(3)), jnp.ones(4)], ["0.0", "0.1", "1"]),
    "named tuples": (Moments(jnp.ones(2), jnp.zeros(3)), ["mean", "spread"]),
    "dataclasses": ([Layer(jnp.ones((2, 2)), jnp.zeros(2))], ["0.weight", "0.bias"]),
    "numbers, and nothing": ({"rate": 0.5, "steps": 3, "extra": None}, ["rate", "steps"]),
    "several dtypes": (
        {"half": jnp.ones(3, jnp.bfloat16), "mask": jnp.array([True]), "z": jnp.ones(2, "c8")},
        ["half", "mask", "z"],
    ),
    "a lone array": (jnp.ones(3), [""]),
    "linen": (
        perceptron(),
        [f"params.Dense_{at}.{name}" for at in range(2) for name in ("bias", "kernel")],
    ),
    "nnx": (
        nnx.state(Network(nnx.Rngs(0)), nnx.Param),
        [f"{at}.{name}" for at in ("first", "last") for name in ("bias", "kernel")]
        + ["norm.bias", "norm.scale"],
    ),
    "optax": (
        optax.adam(1e-3).init({"w": jnp.ones(3)}),
        ["0.count", "0.mu.w", "0.nu.w"],
    ),
}


def twice(value: np.ndarray) -> np.ndarray:
    return (value + value).astype(value.dtype)


@pytest.fixture(params=TREES)
def tree(request: pytest.FixtureRequest) -> tuple[Any, list[str]]:
    return TREES[request.param]


def test_a_tree_becomes_arrays_by_the_names_on_the_way_to_them(tree: Any) -> None:
    found, names = tree
    parameters = parameters_of(found)
    assert list(parameters) == names
    assert all(isinstance(value, np.ndarray) for value in parameters.values())
    for leaf, value in zip(jax.tree_util.tree_leaves(found), parameters.values(), strict=True):
        assert value.shape == np.shape(leaf)
        assert value.dtype == np.asarray(leaf).dtype


def test_the_same_tree_comes_back(tree: Any) -> None:
    found, _ = tree
    changed = {name: twice(value) for name, value in parameters_of(found).items()}
    again = load_parameters(found, changed)
    assert jax.tree_util.tree_structure(again) == jax.tree_util.tree_structure(found)
    for ours, theirs in zip(
        jax.tree_util.tree_leaves(again), jax.tree_util.tree_leaves(found), strict=True
    ):
        assert type(ours) is type(theirs)
        assert jnp.asarray(ours).dtype == jnp.asarray(theirs).dtype
        np.testing.assert_array_equal(np.asarray(ours), twice(np.asarray(theirs)))


def test_what_travelled_in_a_frame_can_be_loaded(tree: Any) -> None:
    found, _ = tree
    sent = DXO(DataKind.WEIGHTS, parameters_of(found))
    received = decode(bytearray(encode(sent).to_bytes())).body
    again = load_parameters(found, received.data)
    assert jax.tree_util.tree_all(
        jax.tree_util.tree_map(lambda ours, theirs: bool(jnp.all(ours == theirs)), again, found)
    )


def test_the_tree_given_in_stays_as_it_is() -> None:
    found = {"w": jnp.zeros(3)}
    load_parameters(found, {"w": np.ones(3, np.float32)})
    assert not found["w"].any()


def test_a_leaf_keeps_its_dtype_when_a_mean_comes_in_another() -> None:
    again = load_parameters({"w": jnp.zeros(3, jnp.bfloat16)}, {"w": np.ones(3)})
    assert again["w"].dtype == jnp.bfloat16


def test_abstract_leaves_take_a_model_too() -> None:
    shapes = jax.eval_shape(perceptron)
    again = load_parameters(shapes, parameters_of(perceptron()))
    assert Perceptron().apply(again, jnp.ones((1, 3))).shape == (1, 2)


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_model_without_parameters_gives_the_tree_itself(nothing: Any) -> None:
    found = {"w": jnp.ones(3)}
    assert load_parameters(found, nothing) is found


def test_a_model_of_an_nnx_module_is_put_into_another() -> None:
    first, second = Network(nnx.Rngs(0)), Network(nnx.Rngs(1))
    state = nnx.state(second, (nnx.Param, nnx.BatchStat))
    received = parameters_of(nnx.state(first, (nnx.Param, nnx.BatchStat)))
    nnx.update(second, load_parameters(state, received))
    np.testing.assert_array_equal(second.first.kernel[...], first.first.kernel[...])


def test_sharded_leaves_stay_sharded_as_they_are() -> None:
    code = """
import jax, jax.numpy as jnp, numpy as np
from federant.client.jax import load_parameters, parameters_of
mesh = jax.sharding.Mesh(np.array(jax.devices()), ("x",))
place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
tree = {"w": jax.device_put(jnp.arange(8.0), place)}
again = load_parameters(tree, {"w": parameters_of(tree)["w"] + 1})
assert again["w"].sharding == place, again["w"].sharding
assert (np.asarray(again["w"]) == np.arange(1, 9)).all()
"""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# ---- refused --------------------------------------------------------------------------------


def test_a_model_of_another_shape_is_refused_by_name() -> None:
    tree = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
    with pytest.raises(ParameterMismatchError) as caught:
        load_parameters(tree, {"w": np.ones((3, 2)), "bias": np.ones(3)})
    assert caught.value.missing == ("b",)
    assert caught.value.unexpected == ("bias",)
    assert caught.value.misfits == {"w": "has shape (2, 3) here, (3, 2) in the received model"}


def test_a_random_key_is_refused_with_what_to_pass() -> None:
    with pytest.raises(TypeError, match=r"'drop.rngs.*key' is a random key.*nnx.Param"):
        parameters_of(Network(nnx.Rngs(0)))


def test_a_leaf_that_is_no_array_is_refused() -> None:
    with pytest.raises(TypeError, match=r"leaf 'act' is a str; .* pass the parameters only"):
        parameters_of({"w": jnp.ones(3), "act": "relu"})


def test_two_leaves_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two leaves of the tree are called 'a\.b'"):
        parameters_of({"a": {"b": jnp.ones(1)}, "a.b": jnp.ones(1)})
