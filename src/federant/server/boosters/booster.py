"""A booster: what it must have in common with others to be joined, and its trees."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from federant.exchange import DXO, ReturnCode
from federant.server.boosters.errors import BadBoosterError
from federant.server.boosters.limits import RESULT_LIMITS, BoosterLimits
from federant.server.boosters.tree import checked_tree
from federant.server.boosters.values import (
    floats_in_text,
    integer,
    integers,
    member,
    parse,
    plain,
    texts,
)

NAME: Final = "booster"
"""The one name in the data of a model that is a booster; its text, as bytes, lies under it."""

_TREES: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class BoosterShape:
    """What boosters must have in common; of a few bytes, however many trees there are."""

    features: int
    classes: int
    targets: int
    base_score: tuple[float, ...]
    parallel_trees: int
    objective: Any
    feature_names: tuple[str, ...]
    feature_types: tuple[str, ...]
    categories: Any
    """How the values of categorical columns are numbered, if XGBoost has done that."""

    @property
    def groups(self) -> int:
        """How many scores an example gets, each from trees of its own."""
        return max(self.classes, self.targets, 1)

    def require(self, other: BoosterShape) -> None:
        """BadBoosterError that says in what the other differs from this one."""
        for field in fields(self):
            ours, theirs = getattr(self, field.name), getattr(other, field.name)
            if ours != theirs:
                names = field.name.startswith("feature_")
                raise BadBoosterError(
                    f"the booster's {field.name.replace('_', ' ')} are {_shown(theirs)}, the "
                    f"federation's {_shown(ours)}; {_ADVICE[field.name]}",
                    ReturnCode.RESULT_WRONG_NAMES if names else ReturnCode.RESULT_WRONG_SHAPE,
                )


_DATA: Final = "give every site the same columns in the same order"
_PARAMS: Final = "give every site's training the same params"
_ADVICE: Final = {
    "features": _DATA,
    "feature_names": _DATA,
    "feature_types": _DATA,
    "categories": "number the categories yourself, alike on every site",
    "classes": _PARAMS,
    "targets": _PARAMS,
    "objective": _PARAMS,
    "parallel_trees": _PARAMS,
    "base_score": "name it in every site's params: else each site takes it from its own data",
}


@dataclass(frozen=True, slots=True)
class Booster:
    """Trees in the order in which they were grown, each with the group that it belongs to."""

    shape: BoosterShape
    version: tuple[int, ...]
    """Of the XGBoost that wrote it."""
    trees: list[dict[str, Any]]
    groups: list[int]
    rounds: list[int]
    """Where each boosting round's trees end; begins with 0."""

    def text(self) -> bytearray:
        """As XGBoost reads it."""
        shape = self.shape
        model = {
            "gbtree_model_param": {
                "num_parallel_tree": str(shape.parallel_trees),
                "num_trees": str(len(self.trees)),
            },
            "iteration_indptr": self.rounds,
            "tree_info": self.groups,
            "trees": [{**tree, "id": at} for at, tree in enumerate(self.trees)],
        }
        if shape.categories is not None:
            model["cats"] = shape.categories
        scores = [np.format_float_scientific(score, trim="-") for score in shape.base_score]
        # Before 3.1 there was one score and no brackets.
        base = f"[{','.join(scores)}]" if self.version >= (3, 1) else scores[0]
        learner = {
            "attributes": {},
            "feature_names": list(shape.feature_names),
            "feature_types": list(shape.feature_types),
            "gradient_booster": {"model": model, "name": "gbtree"},
            "learner_model_param": {
                "base_score": base,
                "boost_from_average": "1",
                "num_class": str(shape.classes),
                "num_feature": str(shape.features),
                "num_target": str(shape.targets),
            },
            "objective": shape.objective,
        }
        whole = {"learner": learner, "version": list(self.version)}
        separators = (",", ":")
        written = json.dumps(whole, ensure_ascii=False, allow_nan=False, separators=separators)
        return bytearray(written.encode())


def read_booster(
    text: bytes | bytearray, limits: BoosterLimits = RESULT_LIMITS, *, rounds: int | None = None
) -> Booster:
    """The booster in a text that XGBoost's ``save_raw("json")`` gave.

    ``rounds`` is how many boosting rounds it may have. BadBoosterError if it is none, too large, or
    not of trees that can be joined.
    """
    found = parse(text, limits)
    kind = member(found, "learner", "gradient_booster", "name")
    if kind != "gbtree":
        raise BadBoosterError(
            f"a booster of kind {kind!r:.20} cannot be joined, only one of booster='gbtree' can",
            ReturnCode.RESULT_WRONG_KIND,
        )
    model = member(found, "learner", "gradient_booster", "model")
    shape = _shape(found, limits)
    trees = member(model, "trees")
    if not isinstance(trees, list):
        raise BadBoosterError("the booster's trees are no list")
    trees = [checked_tree(tree, shape.features, limits) for tree in trees]
    ends = integers(member(model, "iteration_indptr"), "iteration_indptr", 0, _TREES)
    groups = integers(member(model, "tree_info"), "tree_info", 0, shape.groups - 1)
    each = shape.groups * shape.parallel_trees
    if len(groups) != len(trees) or ends.tolist() != list(range(0, len(trees) + 1, each)):
        raise BadBoosterError(
            f"the booster has {len(trees)} trees, {len(groups)} groups for them and {len(ends)} "
            f"ends of rounds, which does not go together; each round must have {each} trees"
        )
    if rounds is not None and not 1 <= len(ends) - 1 <= rounds:
        raise BadBoosterError(
            f"the booster has {len(ends) - 1} boosting rounds, the task asks for {rounds}; return "
            "only those that this task added: booster[before:], which parameters_of does",
            ReturnCode.RESULT_WRONG_SHAPE,
        )
    version = integers(member(found, "version"), "version", 0, 1000)
    if len(version) != 3 or version[0] < 2:
        raise BadBoosterError(f"version must be three numbers, 2.0.0 or more: {version.tolist()}")
    return Booster(
        shape=shape,
        version=tuple(version.tolist()),
        trees=trees,
        groups=groups.tolist(),
        rounds=ends.tolist(),
    )


def booster_of(
    model: DXO, limits: BoosterLimits = RESULT_LIMITS, *, rounds: int | None = None
) -> Booster:
    """The booster in a model (or a result) as it travels; BadBoosterError if there is none."""
    if model.data.keys() != {NAME}:
        raise BadBoosterError(
            f"the result has {sorted(map(str, model.data))[:3]}, it must have {NAME!r} and nothing "
            "else; make it by federant.client.xgboost.parameters_of",
            ReturnCode.RESULT_WRONG_NAMES,
        )
    text = model.data[NAME]
    if not isinstance(text, bytes | bytearray):
        raise BadBoosterError(
            f"{NAME!r} is a {type(text).__name__}, it must be bytes: booster.save_raw('json')",
            ReturnCode.RESULT_WRONG_KIND,
        )
    return read_booster(text, limits, rounds=rounds)


def _shape(found: Any, limits: BoosterLimits) -> BoosterShape:
    learner = member(found, "learner")
    params = member(learner, "learner_model_param")
    model = member(learner, "gradient_booster", "model")
    features = integer(member(params, "num_feature"), "num_feature", 1, limits.features)
    classes = integer(member(params, "num_class"), "num_class", 0, limits.groups)
    targets = integer(member(params, "num_target"), "num_target", 1, limits.groups)
    base_score = floats_in_text(member(params, "base_score"), "base_score")
    if len(base_score) not in (1, max(classes, targets)):
        raise BadBoosterError(f"base_score has {len(base_score)} numbers")
    parallel = member(model, "gbtree_model_param", "num_parallel_tree")
    names = tuple(texts(member(learner, "feature_names"), "feature_names"))
    types = tuple(texts(member(learner, "feature_types"), "feature_types"))
    if not {len(names), len(types)} <= {0, features}:
        raise BadBoosterError(f"there are {len(names)} names and {len(types)} types of features")
    return BoosterShape(
        features=features,
        classes=classes,
        targets=targets,
        base_score=base_score,
        parallel_trees=integer(parallel, "num_parallel_tree", 1, limits.parts),
        objective=plain(member(learner, "objective"), "objective"),
        feature_names=names,
        feature_types=types,
        categories=_categories(model),
    )


def _categories(model: Any) -> Any:
    """None where no column is categorical: before 3.1 there is nothing, later empty lists."""
    found = plain(model.get("cats"), "cats", depth=5)
    return found if isinstance(found, dict) and any(found.values()) else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
