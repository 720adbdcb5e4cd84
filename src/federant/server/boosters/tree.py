"""One tree: checked node by node, and written again without what no way leads to."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from federant.exchange import ReturnCode
from federant.server.boosters.errors import BadBoosterError
from federant.server.boosters.limits import BoosterLimits
from federant.server.boosters.values import float32_text, integer, integers, member, numbers

_ROOT_PARENT: Final = 2147483647
_LARGEST_CATEGORY: Final = 1 << 24
_NODES: Final = 1 << 24
_STATISTICS: Final = ("base_weights", "loss_changes", "sum_hessian")
_KEYS: Final = {
    *_STATISTICS,
    "categories",
    "categories_nodes",
    "categories_segments",
    "categories_sizes",
    "default_left",
    "id",
    "left_children",
    "parents",
    "right_children",
    "split_conditions",
    "split_indices",
    "split_type",
    "tree_param",
}


def checked_tree(found: Any, features: int, limits: BoosterLimits) -> dict[str, Any]:
    """The tree in the JSON of a booster, rebuilt from what was understood.

    Every node that a way leads to from the root is reached once and splits on a feature that there
    is; nodes that XGBoost has pruned are left out. BadBoosterError if it is no such tree.
    """
    nodes = integer(member(found, "tree_param", "num_nodes"), "num_nodes", 1, _NODES)
    if integer(member(found, "tree_param", "size_leaf_vector"), "size_leaf_vector", 0, _NODES) > 1:
        raise BadBoosterError(
            "trees whose leaves are vectors cannot be joined; train with "
            "multi_strategy='one_output_per_tree'",
            ReturnCode.RESULT_WRONG_KIND,
        )
    if unknown := sorted(set(found) - _KEYS):
        raise BadBoosterError(
            f"a tree has {unknown[:3]}, which this server does not know; it knows the trees of "
            "XGBoost 2.0 to 3.4"
        )
    left, right = (_of_nodes(found, f"{side}_children", nodes, -1) for side in ("left", "right"))
    order = _reached(left, right, limits)
    left, right = left[order], right[order]
    leaf = left < 0
    split = _of_nodes(found, "split_indices", nodes, high=_ROOT_PARENT)[order]
    split[leaf] = 0
    if split.max() >= features:
        raise BadBoosterError(f"a tree splits on feature {split.max()} of {features}")
    number = np.zeros(nodes, np.int64)
    number[order] = np.arange(len(order))
    parents = np.full(len(order), _ROOT_PARENT)
    inner = np.flatnonzero(~leaf)
    for children in (left, right):
        children[inner] = number[children[inner]]
        parents[children[inner]] = inner
    by_category = _of_nodes(found, "split_type", nodes, high=1)[order]
    by_category[leaf] = 0
    return {
        **{name: _numbers_of_nodes(found, name, nodes)[order].tolist() for name in _STATISTICS},
        **_categories(found, number, order, by_category),
        "default_left": _of_nodes(found, "default_left", nodes, high=1)[order].tolist(),
        "left_children": left.tolist(),
        "parents": parents.tolist(),
        "right_children": right.tolist(),
        "split_conditions": _numbers_of_nodes(found, "split_conditions", nodes)[order].tolist(),
        "split_indices": split.tolist(),
        "split_type": by_category.tolist(),
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(features),
            "num_nodes": str(len(order)),
            "size_leaf_vector": "1",
        },
    }


def scaled_tree(tree: dict[str, Any], share: float) -> dict[str, Any]:
    """The same tree with its leaves' values multiplied; a leaf's value lies where others split."""
    if share == 1:
        return tree
    conditions = list(tree["split_conditions"])
    for node, child in enumerate(tree["left_children"]):
        if child < 0:
            conditions[node] = float32_text(np.float32(conditions[node] * share))
    return {**tree, "split_conditions": conditions}


def _of_nodes(
    found: Any, name: str, nodes: int, low: int = 0, high: int | None = None
) -> NDArray[np.int64]:
    values = integers(member(found, name), name, low, nodes - 1 if high is None else high)
    return _one_each(values, name, nodes)


def _numbers_of_nodes(found: Any, name: str, nodes: int) -> NDArray[np.float64]:
    return _one_each(numbers(member(found, name), name), name, nodes)


def _one_each(values: NDArray[Any], name: str, nodes: int) -> NDArray[Any]:
    if len(values) != nodes:
        raise BadBoosterError(f"{name} has {len(values)} numbers for a tree of {nodes} nodes")
    return values


def _reached(
    left: NDArray[np.int64], right: NDArray[np.int64], limits: BoosterLimits
) -> NDArray[np.int64]:
    """The nodes that there is a way to, in their order; each by one way only."""
    seen = np.zeros(len(left), np.bool_)
    level = np.zeros(1, np.int64)
    for _ in range(limits.depth + 1):
        seen[level] = True
        inner = level[(left[level] >= 0) | (right[level] >= 0)]
        children = np.concatenate([left[inner], right[inner]])
        if not len(children):
            return np.flatnonzero(seen)
        if children.min() < 0 or seen[children].any() or len(np.unique(children)) < len(children):
            raise BadBoosterError("a tree has a node with one child, or one that two ways lead to")
        level = children
    raise BadBoosterError(f"a tree is more than {limits.depth} splits deep")


def _categories(
    found: Any, number: NDArray[np.int64], order: NDArray[np.int64], by_category: NDArray[np.int64]
) -> dict[str, Any]:
    """For each split on a category, which of them go to the right."""
    values = integers(member(found, "categories"), "categories", 0, _LARGEST_CATEGORY)
    count = len(values)
    nodes = integers(member(found, "categories_nodes"), "categories_nodes", 0, len(number) - 1)
    starts = integers(member(found, "categories_segments"), "categories_segments", 0, count)
    sizes = integers(member(found, "categories_sizes"), "categories_sizes", 0, count)
    lies_there = len(nodes) == len(starts) == len(sizes) and (starts + sizes <= count).all()
    if not lies_there or sizes.sum() > count:
        raise BadBoosterError("the categories of a tree do not lie where it says")
    places = {int(node): at for at, node in enumerate(nodes)}
    wanted = order[by_category == 1]
    if len(places) < len(nodes) or not all(int(node) in places for node in wanted):
        raise BadBoosterError("a tree lacks the categories of a split, or has them twice")
    chosen = np.array([places[int(node)] for node in wanted], np.int64)
    sizes = sizes[chosen]
    return {
        "categories": [
            category
            for start, size in zip(starts[chosen].tolist(), sizes.tolist(), strict=True)
            for category in values[start : start + size].tolist()
        ],
        "categories_nodes": number[wanted].tolist(),
        "categories_segments": (np.cumsum(sizes) - sizes).tolist(),
        "categories_sizes": sizes.tolist(),
    }
