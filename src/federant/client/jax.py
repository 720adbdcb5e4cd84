"""JAX's pytrees as the flat dict of arrays that travels, and back; knows no layer or optimizer.

Any tree that JAX knows will do: nested dicts, lists and tuples, dataclasses that are registered,
Flax's parameters (of ``linen`` as of ``nnx``), Optax's states. A round of a script:

    params = load_parameters(params, task.data.data)
    ... train ...
    result = parameters_of(params)

Of an ``nnx`` model, ``nnx.update(model, load_parameters(nnx.state(model, nnx.Param), data))``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from federant.client.fitting import ParameterMismatchError, require_fit

try:
    import jax
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"federant.client.jax needs {error.name}, which is not installed: "
        "pip install 'federant[jax]'",
        name=error.name,
    ) from error

__all__ = ["ParameterMismatchError", "load_parameters", "parameters_of"]

Tree = TypeVar("Tree")

_ADVICE: Final = "build the same tree at every site and for the initial model"
_VARIABLE: Final = jax.tree_util.GetAttrKey("value")


def parameters_of(tree: Any) -> dict[str, NDArray[Any]]:
    """The leaves of a pytree by the names on the way to each: ``params.Dense_0.kernel``.

    Numpy arrays of the same shapes and dtypes (0-d for plain numbers); on the CPU they share JAX's
    memory and are read-only.

    TypeError for a leaf that is no number and no array, or a random key, which belongs to each site
    alone; ValueError if two leaves have one name.
    """
    return {name: np.asarray(leaf) for name, leaf in _leaves(tree).items()}


def load_parameters(tree: Tree, params: Mapping[str, Any] | None) -> Tree:
    """The same tree with a received model's arrays for leaves; nothing is changed in place.

    Each array gets the dtype and the sharding of the leaf in whose place it comes. The leaves may
    also be abstract (``jax.ShapeDtypeStruct``).

    A model without any parameters (None, ``{}``) gives the tree itself: it is what the first round
    of a job without an initial model brings, and each trainer begins with its own.

    ParameterMismatchError if it does not fit; TypeError and ValueError as of ``parameters_of``.
    """
    leaves = _leaves(tree)
    if not params:
        return tree
    shapes = {name: tuple(np.shape(leaf)) for name, leaf in leaves.items()}
    require_fit(shapes, params, model="pytree", advice=_ADVICE)
    loaded = [_like(leaf, params[name]) for name, leaf in leaves.items()]
    filled: Tree = jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(tree), loaded)
    return filled


def _leaves(tree: Any) -> dict[str, Any]:
    """By name, in the order of the tree."""
    leaves: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        # Flax keeps each parameter in a variable, whose value it is.
        parts = path[:-1] if path and path[-1] == _VARIABLE else path
        name = jax.tree_util.keystr(parts, simple=True, separator=".")
        if name in leaves:
            raise ValueError(
                f"two leaves of the tree are called {name!r}; name its parts without dots"
            )
        _require_array(name, leaf)
        leaves[name] = leaf
    return leaves


def _require_array(name: str, leaf: Any) -> None:
    if isinstance(leaf, bool | int | float | complex):
        return
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not hasattr(leaf, "shape"):
        raise TypeError(
            f"leaf {name!r} is a {type(leaf).__name__}; a tree that travels has arrays and "
            "numbers: pass the parameters only, not a train state with its functions"
        )
    if jax.numpy.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"leaf {name!r} is a random key, which belongs to each site alone; pass the parameters "
            "only, nnx.state(model, nnx.Param) say"
        )


def _like(leaf: Any, value: Any) -> Any:
    """The value as an array that can stand in the place of the leaf."""
    if isinstance(leaf, bool | int | float | complex):
        return type(leaf)(np.asarray(value)[()])
    array = np.asarray(value).astype(leaf.dtype, copy=False)
    if isinstance(leaf, np.ndarray | np.generic):
        return array.copy()
    sharding = getattr(leaf, "sharding", None)
    if sharding is not None and len(sharding.device_set) > 1:
        return jax.device_put(array, sharding)
    return jax.numpy.asarray(array)
