"""Weights and differences against the task's model: what is refused, and what is not."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from federant.codec import JaxArray, encode
from federant.exchange import DXO, DataKind, ReturnCode
from federant.server.blobs import FolderBlobs
from federant.server.state import Store
from federant.server.validation import MODEL_KINDS, ResultChecker, bodies

from .conftest import MODEL, STEPS, Check, changed, weights


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
            "the result lacks 'note'; it has 'extra', which the model does not have; return all",
        ),
        (
            {**MODEL, "extra": None, "more": None},
            ReturnCode.RESULT_WRONG_NAMES,
            "the result has 'extra', 'more', which the model does not have; ret",
        ),
        (
            {},
            ReturnCode.RESULT_WRONG_NAMES,
            "the result lacks 'batches', 'layer.b', 'layer.w', 'note', 'rate'; return all of the",
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
    monkeypatch.setattr(bodies, "CHUNK_BYTES", 1024)
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


def test_an_array_of_records_is_refused_by_its_fields_with_what_to_do(check: Check) -> None:
    few = np.zeros(2, [("a", "i4"), ("b" * 99, "f4")])
    many = np.zeros(2, [(f"f{number}", "i4") for number in range(1000)]).view(np.recarray)
    for array, fields in [
        (few, f"record with the fields 'a', '{'b' * 39}, of which"),
        (many, "record with the fields 'f0', 'f1', 'f2', 'f3', 'f4' and 995 more, of which"),
    ]:
        for model in ({"w": array}, {}):
            refusal = check(weights({"w": array}), model=model)
            assert refusal is not None
            assert refusal.rc == ReturnCode.RESULT_WRONG_DTYPE
            assert f"'w' is an array of dtype {fields}" in refusal.text
            assert "return each of its fields as an array of its own (array[name])" in refusal.text
        assert check(weights({"w": array}), kinds=(), model={"w": array}) is None
        refusal = check(weights({"w": array}), model={"w": np.zeros(2)})
        assert refusal is not None
        assert refusal.text.startswith("'w' has dtype record with the fields ")


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
    monkeypatch.setattr(bodies, "CHUNK_BYTES", 1024)
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


VERY_MANY_DIGITS = 10**5000
"""More than Python writes down."""


@pytest.mark.parametrize(
    "key", [VERY_MANY_DIGITS, ("w", -VERY_MANY_DIGITS)], ids=["number", "tuple"]
)
def test_a_name_of_more_digits_than_python_writes_is_refused(check: Check, key: Any) -> None:
    for model in (MODEL, {}):
        for data in ({key: 1.0}, {"layer": {key: float("nan")}, "w": np.zeros(2)}):
            refusal = check(weights(data), model=model)
            assert refusal is not None
            assert refusal.rc == ReturnCode.RESULT_WRONG_NAMES
            assert "(a number of very many digits)' is the name of a value" in refusal.text
            assert "return values under names that are text" in refusal.text


def test_numbers_of_very_many_digits_anywhere_else_in_a_result_are_judged(check: Check) -> None:
    huge = VERY_MANY_DIGITS
    refusal = check(weights(MODEL, **{STEPS: huge}))
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_BAD_WEIGHT
    assert "it is a number of very many digits" in refusal.text
    assert check(weights(changed("rate", huge))) is not None
    assert check(weights(MODEL, other={huge: huge})) is None
    assert check(DXO(DataKind.METRICS, {huge: huge}), kinds=(DataKind.METRICS,)) is None
    for inner in (weights({"w": 1.0}), 3):
        collection = DXO(DataKind.COLLECTION, {"a": DXO(DataKind.COLLECTION, {huge: inner})})
        refusal = check(collection, kinds=(DataKind.COLLECTION,))
        assert refusal is not None
        assert refusal.rc == ReturnCode.RESULT_WRONG_KIND
        assert "'.a' has an entry under a number of very many digits" in refusal.text


@pytest.mark.parametrize("weight", [1, 0.5, np.int64(7), np.float32(3), 1e12])
def test_any_finite_number_above_zero_is_a_weight(check: Check, weight: Any) -> None:
    assert check(weights(MODEL, **{STEPS: weight})) is None


def test_without_a_model_the_first_accepted_result_is_the_template(
    store: Store, blobs: FolderBlobs, tasks: Callable[..., Any]
) -> None:
    judge = ResultChecker(store, blobs)
    first, second = tasks({}, MODEL_KINDS)
    blob = blobs.put(encode(weights({"w": np.zeros(3)}).to_shareable()).chunks())
    assert judge(first, blobs.path(blob.digest), ReturnCode.OK) is None
    store.commit_result(first.id, "site-1", 1, ReturnCode.OK, {}, blob)

    other = blobs.put(encode(weights({"w": np.zeros(4)}).to_shareable()).chunks())
    refusal = judge(second, blobs.path(other.digest), ReturnCode.OK)
    assert refusal is not None
    assert refusal.rc == ReturnCode.RESULT_WRONG_SHAPE
    assert judge(second, blobs.path(blob.digest), ReturnCode.OK) is None


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
