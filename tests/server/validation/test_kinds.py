"""Kinds of result, and what is no model: each judged as what it is, or unreadable."""

import numpy as np
import pytest

from federant.codec import encode
from federant.exchange import DXO, DataKind, ReturnCode, Shareable

from .conftest import MODEL, Check, weights


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (DXO(DataKind.METRICS, {"loss": 0.1}), "a DXO of kind METRICS"),
        (Shareable(), "an empty result"),
        (None, "an empty result"),
    ],
)
def test_another_kind_than_the_task_asks_for_is_refused(
    check: Check, result: DXO | Shareable | None, got: str
) -> None:
    refusal = check(result)
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_WRONG_KIND
    assert f"task train asks for WEIGHTS or WEIGHT_DIFF, the result is {got}; " in refusal.text


@pytest.mark.parametrize(
    "result",
    [
        DXO(DataKind.METRICS, {"loss": float("nan"), "per_class": np.array([np.nan, 1])}),
        DXO(DataKind.APP_DEFINED, {"report": "x" * 10_000}),
        DXO(DataKind.STATISTICS, {"count": 3}),
        DXO(DataKind.COLLECTION, {"a": DXO(DataKind.METRICS, {"loss": float("inf")})}),
        DXO(DataKind.COLLECTION, {"model": weights({"other": np.zeros(9)})}),
        Shareable({"anything": [1, 2]}),
        Shareable(),
        None,
    ],
)
def test_what_is_no_model_is_judged_as_what_it_is(
    check: Check, result: DXO | Shareable | None
) -> None:
    assert check(result, kinds=()) is None


def test_metrics_pass_where_metrics_are_asked_for(check: Check) -> None:
    assert check(DXO(DataKind.METRICS, {"loss": 0.1}), kinds=(DataKind.METRICS,)) is None


def test_a_model_in_a_collection_must_be_finite_too(check: Check) -> None:
    bad = DXO(DataKind.COLLECTION, {"a": weights({"w": np.array([np.nan])})})
    refusal = check(bad, kinds=(DataKind.COLLECTION,))
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_NOT_FINITE


def test_an_entry_of_a_collection_that_is_no_dxo_is_refused(check: Check) -> None:
    refusal = check(DXO(DataKind.COLLECTION, {"a": 3}), kinds=())
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_WRONG_KIND


def test_a_failure_is_not_judged(check: Check) -> None:
    assert check(None, rc=ReturnCode.TRAINER_DIED) is None


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"junk",
        b"\xff" * 100,
        encode(weights(MODEL).to_shareable()).to_bytes()[:-1],
        encode({"a": 1}).to_bytes(),
        encode(Shareable({"DXO": {"kind": "WEIGHTS", "data": 3}})).to_bytes()[:40],
    ],
)
def test_what_is_no_frame_of_a_result_is_unreadable(check: Check, frame: bytes) -> None:
    refusal = check(frame)
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_UNREADABLE


def test_a_shareable_whose_dxo_is_broken_is_unreadable(check: Check) -> None:
    broken = weights(MODEL).to_shareable()
    broken["DXO"] = {"kind": "WEIGHTS", "data": [1, 2]}
    refusal = check(broken)
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_UNREADABLE
    assert "data must be a dict" in refusal.text
