"""Judges a result against its task before it can touch a model; changes nothing.

Weights and differences of weights must fit the model: names, shapes, dtypes, a sane weight, and
numbers of which there is a finite mean (for a difference: once it is added to the model).  Each
result is judged by itself, so that it alone is refused and the job never fails by it.

Where a task asks for trees, the weights are a booster's text, which must be sound and fit the
booster of the task.

Everything else is not to be added into a model and is judged as what it is: metrics may be NaN, a
collection's entries are judged one by one, a result may be empty where the task asked for nothing
in particular.
"""

from federant.server.validation.bodies import dxo_of
from federant.server.validation.checker import ResultChecker, judge_by, refusal_of
from federant.server.validation.contents import MAX_WEIGHT, is_sane_weight
from federant.server.validation.expectation import (
    MODEL_KINDS,
    Expected,
    ExpectedTrees,
    expectation,
    expected_kinds,
)
from federant.server.validation.refusal import Refusal
from federant.server.validation.shape import ModelShape

__all__ = [
    "MAX_WEIGHT",
    "MODEL_KINDS",
    "Expected",
    "ExpectedTrees",
    "ModelShape",
    "Refusal",
    "ResultChecker",
    "dxo_of",
    "expectation",
    "expected_kinds",
    "is_sane_weight",
    "judge_by",
    "refusal_of",
]
