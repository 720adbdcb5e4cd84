"""New trees against the task's booster: what is refused, and what is not."""

from collections.abc import Callable
from typing import Any

import pytest

from federant.codec import encode
from federant.exchange import ReturnCode
from federant.server.blobs import FolderBlobs
from federant.server.boosters import BoosterLimits, frames
from federant.server.state import Store
from federant.server.validation import ExpectedTrees, ResultChecker, checker

from .conftest import STEPS, Check, weights


def test_trees_that_fit_the_booster_of_the_task_pass(check: Check, booster_text: Any) -> None:
    model = {"booster": booster_text(rounds=20)}
    grown = weights({"booster": booster_text(rounds=2)}, **{STEPS: 12})
    assert check(grown, kinds=ExpectedTrees(2), model=model) is None


@pytest.mark.parametrize(
    ("result", "rc", "text"),
    [
        ({"booster": b"{L\x00"}, ReturnCode.RESULT_UNREADABLE, "which is no JSON"),
        ({"booster": b"{" * 100_000}, ReturnCode.RESULT_UNREADABLE, "which is no JSON"),
        ({"booster": None}, ReturnCode.RESULT_WRONG_KIND, "it must be bytes"),
        ({"other": b"{}"}, ReturnCode.RESULT_WRONG_NAMES, "lacks 'booster'; it has 'other', which"),
        ({"rounds": 3}, ReturnCode.RESULT_WRONG_SHAPE, "has 3 boosting rounds, the task asks"),
        ({"features": 4}, ReturnCode.RESULT_WRONG_SHAPE, "features are 4, the federation's 3"),
        ({"leaf": 1e39}, ReturnCode.RESULT_NOT_FINITE, "split_conditions holds a number"),
    ],
)
@pytest.mark.parametrize("carries", [True, False])
def test_trees_that_are_not_sound_or_do_not_fit_are_refused(
    check: Check, booster_text: Any, result: dict[str, Any], rc: str, text: str, carries: bool
) -> None:
    if not carries and rc in (ReturnCode.RESULT_WRONG_NAMES, ReturnCode.RESULT_WRONG_SHAPE):
        pytest.skip("there is no model yet that it could differ from")
    if not {"booster", "other"} & result.keys():
        result = {"booster": booster_text(**result)}
    model = {"booster": booster_text()} if carries else {}
    refusal = check(weights(result), kinds=ExpectedTrees(2), model=model)
    assert refusal is not None
    assert refusal.rc == rc
    assert text in refusal.text


def test_trees_are_refused_by_their_size_before_they_are_read(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "FRAME_BYTES", 0)
    monkeypatch.setattr(checker, "RESULT_LIMITS", BoosterLimits(text_bytes=100))
    refusal = check(weights({"booster": b"x" * 10_000}), kinds=ExpectedTrees(1), model={})
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_UNREADABLE
    assert "and a booster may have 100" in refusal.text


def test_a_weight_of_trees_must_be_sane_too(check: Check, booster_text: Any) -> None:
    grown = weights({"booster": booster_text()}, **{STEPS: -1})
    refusal = check(grown, kinds=ExpectedTrees(1), model={})
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_BAD_WEIGHT


def test_without_a_booster_the_first_accepted_result_is_the_template(
    store: Store, blobs: FolderBlobs, tasks: Callable[..., Any], booster_text: Any
) -> None:
    judge = ResultChecker(store, blobs)
    first, second = tasks({}, ExpectedTrees(1))
    body = weights({"booster": booster_text()}).to_shareable()
    blob = blobs.put(encode(body).chunks())
    assert judge(first, blobs.path(blob.digest), ReturnCode.OK) is None
    store.commit_result(first.id, "site-1", 1, ReturnCode.OK, {}, blob)

    other = blobs.put(encode(weights({"booster": booster_text(features=4)})).chunks())
    refusal = judge(second, blobs.path(other.digest), ReturnCode.OK)
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_WRONG_SHAPE
    assert judge(second, blobs.path(blob.digest), ReturnCode.OK) is None
