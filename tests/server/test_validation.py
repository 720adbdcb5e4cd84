"""Results against their tasks: what each refusal is for, and what is not refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from federant.codec import JaxArray, encode
from federant.exchange import DXO, DataKind, MetaKey, ReturnCode, Shareable
from federant.server import validation
from federant.server.blobs import FolderBlobs
from federant.server.boosters import BoosterLimits, frames
from federant.server.state import JobRow, NewTask, Store, TaskRow, task_id
from federant.server.validation import (
    MODEL_KINDS,
    ExpectedTrees,
    Refusal,
    ResultChecker,
    expectation,
)

Check = Callable[..., Refusal | None]

MODEL = {
    "layer": {"w": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)},
    "batches": np.array(4),
    "rate": 0.5,
    "note": None,
}
STEPS = MetaKey.NUM_STEPS_CURRENT_ROUND


def changed(path: str, value: Any) -> dict[str, Any]:
    """The model with another value in one place."""
    model = {**MODEL, "layer": dict(MODEL["layer"])}  # type: ignore[arg-type]
    *outer, last = path.split(".")
    place: dict[str, Any] = model
    for part in outer:
        place = place[part]
    place[last] = value
    return model


def weights(data: dict[str, Any], **meta: Any) -> DXO:
    return DXO(DataKind.WEIGHTS, data, meta)


@pytest.fixture
def tasks(store: Store, submit: Callable[..., JobRow], blobs: FolderBlobs) -> Callable[..., Any]:
    """Makes a step with a task for each of two sites: ``tasks(model, kinds)``."""
    job = submit(store, "site-1", "site-2")
    number = iter(range(100))

    def make(model: dict[str, Any], kinds: tuple[str, ...] | ExpectedTrees) -> list[TaskRow]:
        step = next(number)
        blob = blobs.put(encode(weights(model).to_shareable()).chunks())
        new = [
            NewTask(task_id(job.id, step, site), site, "train", {}, blob, expectation(kinds))
            for site in ("site-1", "site-2")
        ]
        store.begin_step(job.id, step, "broadcast", {}, new)
        return store.step_tasks(job.id, step)

    return make


@pytest.fixture
def check(store: Store, blobs: FolderBlobs, tasks: Callable[..., Any], tmp_path: Path) -> Check:
    """Judges a result of a task that carries MODEL: ``check(dxo)``."""
    checker = ResultChecker(store, blobs)

    def judge(
        result: DXO | Shareable | bytes | None,
        *,
        rc: str = ReturnCode.OK,
        kinds: tuple[str, ...] | ExpectedTrees = MODEL_KINDS,
        model: dict[str, Any] = MODEL,
    ) -> Refusal | None:
        task, _ = tasks(model, kinds)
        path = None
        if result is not None:
            path = tmp_path / "result"
            body = result.to_shareable() if isinstance(result, DXO) else result
            path.write_bytes(body if isinstance(body, bytes) else encode(body).to_bytes())
        return checker(task, path, rc)

    return judge


# ---- models ---------------------------------------------------------------------------------


def test_a_model_like_the_tasks_passes(check: Check) -> None:
    assert check(weights(MODEL, **{STEPS: 12})) is None


def test_a_difference_like_the_tasks_model_passes(check: Check) -> None:
    assert check(DXO(DataKind.WEIGHT_DIFF, changed("batches", np.array(0.5)))) is None


def test_values_that_are_no_numbers_may_differ(check: Check) -> None:
    assert check(weights(changed("note", "trained"))) is None


@pytest.mark.parametrize(
    ("result", "rc", "text"),
    [
        (
            {"layer": MODEL["layer"], "batches": np.array(4), "rate": 0.5, "extra": None},
            ReturnCode.RESULT_WRONG_NAMES,
            "the result lacks 'note' and has 'extra' that the model does not have",
        ),
        (
            {},
            ReturnCode.RESULT_WRONG_NAMES,
            "lacks 'batches', 'layer.b', 'layer.w', 'note', 'rate' and has nothing",
        ),
        (
            changed("layer.w", np.zeros((3, 2), np.float32)),
            ReturnCode.RESULT_WRONG_SHAPE,
            "'layer.w' has shape (3, 2), the model's has (2, 3)",
        ),
        (
            changed("layer.w", np.zeros((2, 3))),
            ReturnCode.RESULT_WRONG_DTYPE,
            "'layer.w' has dtype float64, the model's has float32",
        ),
        (
            changed("batches", np.array(4.0)),
            ReturnCode.RESULT_WRONG_DTYPE,
            "'batches' has dtype float64, the model's has int64",
        ),
        (
            changed("layer.b", "gone"),
            ReturnCode.RESULT_WRONG_DTYPE,
            "'layer.b' is no number, or one of over 64 bits, the model's is float32",
        ),
        (
            changed("batches", 10**30),
            ReturnCode.RESULT_WRONG_DTYPE,
            "'batches' is no number, or one of over 64 bits, the model's is int64",
        ),
        (
            changed("note", np.zeros(2)),
            ReturnCode.RESULT_WRONG_SHAPE,
            "'note' has shape (2,), the model's is no array",
        ),
        (
            changed("layer.b", np.array([0, np.inf, 0], np.float32)),
            ReturnCode.RESULT_NOT_FINITE,
            "'layer.b' holds inf",
        ),
        (changed("rate", float("nan")), ReturnCode.RESULT_NOT_FINITE, "'rate' holds nan"),
        (
            changed("layer.w", np.zeros((2, 3), ml_dtypes.bfloat16)),
            ReturnCode.RESULT_WRONG_DTYPE,
            "'layer.w' has dtype bfloat16, the model's has float32",
        ),
        (
            changed("layer.b", np.zeros(3, "M8[s]")),
            ReturnCode.RESULT_WRONG_DTYPE,
            "'layer.b' has dtype datetime64[s], the model's has float32",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_refused_by_name(
    check: Check, result: dict[str, Any], rc: str, text: str
) -> None:
    refusal = check(weights(result))
    assert refusal is not None
    assert refusal.rc == rc
    assert text in refusal.text


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_single_bad_number_in_a_large_tensor_is_found(
    check: Check, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    monkeypatch.setattr(validation, "_CHUNK_BYTES", 1024)
    array = np.zeros(10_001, np.float32)
    array[-1] = bad
    refusal = check(weights({"w": array}), model={"w": np.zeros(10_001, np.float32)})
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_NOT_FINITE
    assert str(bad) in refusal.text


SMALL_FLOATS = [
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e3m4,
    ml_dtypes.float8_e4m3,
    ml_dtypes.float8_e4m3b11fnuz,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e4m3fnuz,
    ml_dtypes.float8_e5m2,
    ml_dtypes.float8_e5m2fnuz,
]


@pytest.mark.parametrize("mark", [np.ndarray, JaxArray])
@pytest.mark.parametrize("dtype", [*SMALL_FLOATS, "c16", "f4", ">f4"])
def test_a_model_of_any_dtype_that_has_a_mean_passes_and_no_nan_in_it(
    check: Check, dtype: Any, mark: Any
) -> None:
    model = {"w": np.ones(9, dtype).view(mark), "n": np.array(2).view(mark)}
    bad = {**model, "w": np.array([1.0] * 8 + [np.nan]).astype(dtype).view(mark)}
    for kind in MODEL_KINDS:
        assert check(DXO(kind, model), model=model) is None
        refusal = check(DXO(kind, bad), model=model)
        assert refusal is not None
        assert refusal.rc == ReturnCode.RESULT_NOT_FINITE
        assert refusal.text.startswith("'w' holds nan; a model's numbers must be finite")


@pytest.mark.parametrize("dtype", SMALL_FLOATS)
def test_a_difference_that_takes_a_model_of_small_floats_beyond_its_end_is_refused(
    check: Check, dtype: Any
) -> None:
    ends = np.array([ml_dtypes.finfo(dtype).max, 0], dtype)
    assert check(DXO(DataKind.WEIGHT_DIFF, {"w": ends[::-1]}), model={"w": ends}) is None
    refusal = check(DXO(DataKind.WEIGHT_DIFF, {"w": ends}), model={"w": ends})
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_NOT_FINITE
    assert refusal.text.startswith("'w' would hold, with the difference added, ")


@pytest.mark.parametrize("dtype", ["U3", "S3", "M8[s]", "m8[D]", "V3"])
def test_an_array_of_which_there_is_no_mean_is_refused_by_name(check: Check, dtype: str) -> None:
    array = {"layer": {"dates": np.zeros(2, dtype)}}
    for model in (array, {}):
        refusal = check(weights(array), model=model)
        assert refusal is not None
        assert refusal.rc == ReturnCode.RESULT_WRONG_DTYPE
        assert f"'layer.dates' is an array of dtype {np.dtype(dtype)}, of which" in refusal.text
    assert check(weights(array), kinds=(), model=array) is None


@pytest.mark.parametrize("value", [np.full(3, 1e300), np.full(3, -1e271), np.float64(1e300), 1e300])
def test_a_number_too_large_to_be_averaged_is_refused(check: Check, value: Any) -> None:
    refusal = check(weights({"w": value}), model={"w": value * 0})
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_NOT_FINITE
    assert refusal.text.startswith("'w' holds ")
    assert "a model's numbers of float64 go no further than 8.4527e+270" in refusal.text


@pytest.mark.parametrize("dtype", ["f2", "f4", "c8"])
@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_the_largest_and_the_smallest_number_of_a_dtype_pass(
    check: Check, dtype: str, kind: DataKind
) -> None:
    ends = np.array([np.finfo(dtype).min, np.finfo(dtype).max, 0], dtype)
    assert check(DXO(kind, {"w": ends}), model={"w": np.zeros(3, dtype)}) is None
    assert check(DXO(kind, {"w": np.zeros(3, dtype)}), model={"w": ends}) is None
    assert check(DXO(kind, {"w": -ends}), model={"w": ends}) is None


@pytest.mark.parametrize(
    ("model", "difference", "held"),
    [
        (np.full(3, 3e38, np.float32), np.full(3, 3e38, np.float32), "6e+38"),
        (np.full(3, 6e4, np.float16), np.full(3, 6e4, np.float16), "1.2e+05"),
        # A sum that float32 would round to its end would still push a mean beyond it.
        (np.full(1, np.finfo("f4").max), np.full(1, 2.0**100, np.float32), "3.4028e+38"),
        (np.array([1j * 3e38], np.complex64), np.array([1j * 3e38], np.complex64), "6"),
        (np.full(3, -8e270), np.full(3, -8e270), "-1.6e+271"),
        (8e270, 8e270, "1.6e+271"),
        (np.array([np.nan]), np.zeros(1), "nan"),
        (np.array([1.0, -np.inf]), np.zeros(2), "-inf"),
    ],
)
def test_a_difference_that_takes_the_model_beyond_its_dtype_is_refused(
    check: Check, model: Any, difference: Any, held: str
) -> None:
    refusal = check(DXO(DataKind.WEIGHT_DIFF, {"w": difference}), model={"w": model})
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_NOT_FINITE
    assert refusal.text.startswith(f"'w' would hold, with the difference added, {held}")


def test_a_single_bad_sum_in_a_large_tensor_is_found(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "_CHUNK_BYTES", 1024)
    model, difference = np.zeros(10_001, np.float32), np.zeros(10_001, np.float32)
    model[5_000] = difference[-1] = np.finfo("f4").max
    result = DXO(DataKind.WEIGHT_DIFF, {"w": difference})
    assert check(result, model={"w": model}) is None
    model[-1] = 1e38
    refusal = check(result, model={"w": model})
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_NOT_FINITE


@pytest.mark.parametrize(
    "weight", [0, -1, 0.0, float("nan"), float("inf"), 1e13, "12", True, None, [1]]
)
def test_a_weight_that_is_not_sane_is_refused(check: Check, weight: Any) -> None:
    refusal = check(weights(MODEL, **{STEPS: weight}))
    if weight is None:
        assert refusal is None  # it does not say
        return
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_BAD_WEIGHT
    assert repr(weight) in refusal.text


@pytest.mark.parametrize("weight", [1, 0.5, np.int64(7), np.float32(3), 1e12])
def test_any_finite_number_above_zero_is_a_weight(check: Check, weight: Any) -> None:
    assert check(weights(MODEL, **{STEPS: weight})) is None


# ---- the first round of a model that the trainers make --------------------------------------


def test_without_a_model_the_first_accepted_result_is_the_template(
    store: Store, blobs: FolderBlobs, tasks: Callable[..., Any]
) -> None:
    checker = ResultChecker(store, blobs)
    first, second = tasks({}, MODEL_KINDS)
    blob = blobs.put(encode(weights({"w": np.zeros(3)}).to_shareable()).chunks())
    assert checker(first, blobs.path(blob.digest), ReturnCode.OK) is None
    store.commit_result(first.id, "site-1", 1, ReturnCode.OK, {}, blob)

    other = blobs.put(encode(weights({"w": np.zeros(4)}).to_shareable()).chunks())
    refusal = checker(second, blobs.path(other.digest), ReturnCode.OK)
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_WRONG_SHAPE
    assert checker(second, blobs.path(blob.digest), ReturnCode.OK) is None


def test_without_a_model_there_is_nothing_to_differ_from(check: Check) -> None:
    refusal = check(DXO(DataKind.WEIGHT_DIFF, {"w": np.zeros(3)}), model={})
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_WRONG_KIND
    assert "carries no model" in refusal.text


def test_a_model_with_nothing_in_it_is_refused(check: Check) -> None:
    refusal = check(weights({}), model={})
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_WRONG_NAMES


@pytest.mark.parametrize(
    "value", ["trained", "x" * 100_000, b"\x80", None, [], ["1.0"], np.str_("1"), 10**30]
)
@pytest.mark.parametrize("carries", [True, False])
def test_a_model_without_numbers_is_refused_where_models_are_averaged(
    check: Check, value: Any, carries: bool
) -> None:
    model = {"w": value}
    refusal = check(weights(model), model=model if carries else {})
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_WRONG_KIND
    assert "nothing to be averaged in the result, no number is in 'w'" in refusal.text
    assert "numpy.asarray" in refusal.text
    # A workflow that only passes models on takes any.
    only_weights = (str(DataKind.WEIGHTS),)
    assert check(weights(model), kinds=only_weights, model=model if carries else {}) is None


@pytest.mark.parametrize(
    "data", [{"w": [1.0, 2.0]}, {"w": 0.5}, {"w": np.zeros(3), "note": "trained", "more": []}]
)
def test_numbers_in_lists_or_beside_other_values_are_enough(check: Check, data: Any) -> None:
    for model in (data, {}):
        assert check(weights(data), model=model) is None


# ---- trees ----------------------------------------------------------------------------------


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
        ({"other": b"{}"}, ReturnCode.RESULT_WRONG_NAMES, "lacks 'booster' and has 'other'"),
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
    monkeypatch.setattr(validation, "RESULT_LIMITS", BoosterLimits(text_bytes=100))
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
    checker = ResultChecker(store, blobs)
    first, second = tasks({}, ExpectedTrees(1))
    body = weights({"booster": booster_text()}).to_shareable()
    blob = blobs.put(encode(body).chunks())
    assert checker(first, blobs.path(blob.digest), ReturnCode.OK) is None
    store.commit_result(first.id, "site-1", 1, ReturnCode.OK, {}, blob)

    other = blobs.put(encode(weights({"booster": booster_text(features=4)})).chunks())
    refusal = checker(second, blobs.path(other.digest), ReturnCode.OK)
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_WRONG_SHAPE
    assert checker(second, blobs.path(blob.digest), ReturnCode.OK) is None


# ---- kinds ----------------------------------------------------------------------------------


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


# ---- frames ---------------------------------------------------------------------------------


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
