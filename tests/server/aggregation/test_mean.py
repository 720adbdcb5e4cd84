"""The weighted mean: what it comes to for each kind of value, and what it refuses."""

import tracemalloc
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from federant.codec import JaxArray, TorchArray, decode, encode
from federant.exchange import DXO, DataKind
from federant.server.aggregation import AggregationError, WeightedMean, leaves


def weights(**data: Any) -> DXO:
    return DXO(DataKind.WEIGHTS, data)


def difference(**data: Any) -> DXO:
    return DXO(DataKind.WEIGHT_DIFF, data)


def mean_of(*results: tuple[DXO, float], model: DXO | None = None) -> dict[str, Any]:
    mean = WeightedMean(model)
    for result, weight in results:
        mean.add(result, weight)
    data: dict[str, Any] = mean.mean().data
    return data


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8"])
def test_arrays_of_numbers_get_their_weighted_mean_in_their_own_dtype(dtype: str) -> None:
    one, two = np.array([[1, 2], [3, 4]], dtype), np.array([[5, 6], [7, 8]], dtype)
    found = mean_of((weights(w=one), 1), (weights(w=two), 3))["w"]
    np.testing.assert_array_equal(found, (one + 3 * two) / 4)
    assert found.dtype == one.dtype
    assert found.flags.writeable


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "i8", "u8"])
def test_integers_get_the_mean_rounded_to_the_nearest(dtype: str) -> None:
    found = mean_of(
        (weights(n=np.array([1, 10], dtype)), 1), (weights(n=np.array([2, 13], dtype)), 2)
    )["n"]
    np.testing.assert_array_equal(found, [2, 12])
    assert found.dtype == np.dtype(dtype)


def test_bools_follow_the_majority_of_weight() -> None:
    one, two = np.array([True, False, True]), np.array([False, True, True])
    found = mean_of((weights(m=one), 2), (weights(m=two), 1))["m"]
    np.testing.assert_array_equal(found, [True, False, True])
    assert found.dtype == np.bool_


def test_python_numbers_and_numpy_scalars_stay_what_they_are() -> None:
    one = weights(f=1.0, n=3, b=True, s=np.float32(1), z=np.array(1.0))
    two = weights(f=2.0, n=4, b=False, s=np.float32(2), z=np.array(2.0))
    found = mean_of((one, 1), (two, 3))
    assert found["f"] == 1.75
    assert type(found["n"]) is int
    assert found["n"] == 4
    assert found["b"] is False
    assert type(found["s"]) is np.float32
    assert isinstance(found["z"], np.ndarray)
    assert found["z"].shape == ()


def test_values_that_are_no_numbers_stay_those_of_the_global_model() -> None:
    model = weights(w=np.zeros(1), name="global", count=None, huge=10**30)
    result = weights(w=np.ones(1), name="site", count=None, huge=10**31)
    found = mean_of((result, 1), model=model)
    assert (found["name"], found["count"], found["huge"]) == ("global", None, 10**30)


def test_nested_models_keep_their_structure() -> None:
    def nested(value: float) -> DXO:
        return weights(layer={"w": np.full(2, value)}, parts=[np.full(1, value), (value,)])

    found = mean_of((nested(1), 1), (nested(3), 1))
    np.testing.assert_array_equal(found["layer"]["w"], [2, 2])
    assert found["parts"][1] == (2.0,)


def test_differences_are_added_to_the_global_model() -> None:
    model = weights(w=np.array([1, 2], np.float32), n=np.array([7], np.int64))
    found = mean_of(
        (difference(w=np.array([1, 1], np.float32), n=np.array([1])), 1),
        (difference(w=np.array([3, 5], np.float32), n=np.array([3])), 1),
        model=model,
    )
    np.testing.assert_array_equal(found["w"], np.array([3, 5], np.float32))
    np.testing.assert_array_equal(found["n"], [9])


def test_whole_models_and_differences_can_be_mixed() -> None:
    model = weights(w=np.array([10.0]))
    found = mean_of(
        (weights(w=np.array([13.0])), 2), (difference(w=np.array([6.0])), 1), model=model
    )
    np.testing.assert_allclose(found["w"], [(2 * 13 + 16) / 3])


def test_a_difference_that_would_leave_an_integers_range_stops_at_its_end() -> None:
    found = mean_of(
        (difference(n=np.array([-5, 5])), 1), model=weights(n=np.array([3, 253], np.uint8))
    )
    np.testing.assert_array_equal(found["n"], [0, 255])


@pytest.mark.parametrize("dtype", ["i1", "i4", "i8", "u8"])
def test_integers_at_the_end_of_their_range_stay_there(dtype: str) -> None:
    ends = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    np.testing.assert_array_equal(mean_of((weights(n=ends), 1), (weights(n=ends), 3))["n"], ends)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "c8", ml_dtypes.bfloat16, "i4", "?"])
def test_the_memory_of_a_mean_that_is_not_looked_at_any_more_is_used_for_the_next(
    dtype: Any,
) -> None:
    model = weights(w=np.zeros(100_000, dtype), lone=1.5)
    used: WeightedMean | None = None
    for number in (1, 0, 1):
        mean = WeightedMean(model, spare=used)
        for weight in (1, 3):
            mean.add(weights(w=np.full(100_000, number, dtype), lone=2.5), weight)
        found = mean.mean()
        np.testing.assert_array_equal(found.data["w"], np.full(100_000, number, dtype))
        assert found.data["w"].dtype == np.dtype(dtype)
        assert found.data["lone"] == 2.5
        used = mean


def test_accumulators_may_be_smaller_than_the_models_numbers() -> None:
    mean = WeightedMean(weights(w=np.zeros(3)), dtype=np.float32)
    mean.add(weights(w=np.array([1.0, 2.0, 4.0])), 2)
    found = mean.mean().data["w"]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [1.0, 2.0, 4.0])


def test_a_spare_of_another_shape_is_no_use_and_no_harm() -> None:
    used = WeightedMean(weights(w=np.zeros(3)))
    used.add(weights(w=np.ones(3)), 1)
    used.mean()
    mean = WeightedMean(weights(w=np.zeros((2, 2))), spare=used)
    mean.add(weights(w=np.ones((2, 2))), 1)
    np.testing.assert_array_equal(mean.mean().data["w"], np.ones((2, 2)))


def test_inputs_are_not_changed() -> None:
    model, result = weights(w=np.ones(3)), difference(w=np.ones(3))
    for array in (model.data["w"], result.data["w"]):
        array.flags.writeable = False
    mean_of((result, 2), model=model)
    np.testing.assert_array_equal(model.data["w"], np.ones(3))


def test_arrays_of_any_layout_are_added_by_position() -> None:
    array = np.arange(6.0).reshape(2, 3)
    found = mean_of((weights(w=array), 1), (weights(w=np.asfortranarray(array)), 1))
    np.testing.assert_array_equal(found["w"], array)


def test_large_arrays_are_added_whole() -> None:
    array = np.random.default_rng(0).normal(size=100_001).astype(np.float32)
    np.testing.assert_array_equal(mean_of((weights(w=array), 3))["w"], array)


@given(
    arrays=st.lists(
        hnp.arrays(np.float32, 5, elements=st.floats(-1e6, 1e6, width=32)), min_size=2, max_size=5
    ),
    data=st.data(),
)
def test_the_mean_is_that_of_numpy(arrays: list[Any], data: st.DataObject) -> None:
    shares = data.draw(
        st.lists(st.integers(1, 1000), min_size=len(arrays), max_size=len(arrays)), label="weights"
    )
    found = mean_of(*zip((weights(w=array) for array in arrays), shares, strict=True))["w"]
    wanted = np.average(np.array(arrays, np.float64), axis=0, weights=shares)
    np.testing.assert_allclose(found, wanted.astype(np.float32), rtol=1e-6, atol=1e-30)


def test_the_order_of_arrival_does_not_show_in_a_float32_model() -> None:
    random = np.random.default_rng(1)
    results = [
        (weights(w=random.normal(size=20_000).astype(np.float32)), share) for share in (3, 50, 911)
    ]
    forwards, backwards = mean_of(*results)["w"], mean_of(*reversed(results))["w"]
    np.testing.assert_array_equal(forwards, backwards)


def test_memory_does_not_grow_with_the_number_of_results() -> None:
    size = 200_000
    result = weights(w=np.ones(size, np.float32))

    def peak(count: int) -> int:
        tracemalloc.start()
        mean = WeightedMean()
        for _ in range(count):
            mean.add(result, 1)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(20) < peak(2) + 100_000


def test_what_was_added_is_counted() -> None:
    mean = WeightedMean()
    mean.add(weights(w=1.0), 2)
    mean.add(weights(w=1.0), 3.5)
    assert (mean.count, mean.weight) == (2, 5.5)


# ---- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "weight", "problem"),
    [
        (DXO(DataKind.METRICS, {"w": 1.0}), 1, "a DXO of kind METRICS cannot be averaged"),
        (weights(w=np.zeros(2)), 0, "a weight must be a finite number above zero, got 0"),
        (weights(w=np.zeros(2)), float("nan"), "above zero, got nan"),
        (weights(w=np.zeros(2)), float("inf"), "above zero, got inf"),
        (weights(v=np.zeros(2)), 1, r"the result lacks \['w'\] and has \['v'\] too many"),
        (weights(w=np.zeros(3)), 1, r"'w' has shape \(3,\), not \(2,\)"),
        (weights(w="text"), 1, r"'w' has shape \(\), not \(2,\)"),
        (weights(w=np.zeros(2)), 1.7e308, "the sum of all weights infinite"),
    ],
)
def test_what_cannot_be_added_is_refused_and_changes_nothing(
    result: DXO, weight: float, problem: str
) -> None:
    mean = WeightedMean(weights(w=np.zeros(2)))
    mean.add(weights(w=np.ones(2)), 1e308)
    with pytest.raises(AggregationError, match=problem):
        mean.add(result, weight)
    assert (mean.count, mean.weight) == (1, 1e308)
    np.testing.assert_array_equal(mean.mean().data["w"], [1, 1])


def test_a_difference_without_a_global_model_is_refused() -> None:
    with pytest.raises(
        AggregationError, match="needs a global model to be added to: there is none"
    ):
        WeightedMean().add(difference(w=np.zeros(2)), 1)


def test_the_mean_of_nothing_is_refused() -> None:
    with pytest.raises(AggregationError, match="no mean of no results"):
        WeightedMean(weights(w=1.0)).mean()


def test_a_mean_that_does_not_fit_its_dtype_is_refused_by_name() -> None:
    mean = WeightedMean(weights(w=np.array([60_000], np.float16)))
    mean.add(difference(w=np.array([60_000], np.float16)), 1)
    with pytest.raises(AggregationError, match="the mean of 'w' does not fit float16"):
        mean.mean()


@pytest.mark.parametrize(
    "results",
    [
        [(1e300, 1e12), (1.0, 1.0)],
        [(1e308, 1.0), (1e308, 1.0)],
        [(1e300, 1e12), (-1e300, 1e12)],
    ],
    ids=["a product", "a sum", "opposite infinities"],
)
@pytest.mark.parametrize("like", [np.zeros(3), 0.0, np.zeros(3, np.int64)])
def test_a_mean_whose_sums_overflow_is_refused_by_name(
    results: list[tuple[float, float]], like: Any
) -> None:
    mean = WeightedMean(weights(w=like))
    for value, weight in results:
        mean.add(difference(w=like + value), weight)
    with pytest.raises(AggregationError, match=r"the mean of 'w' does not fit .*: a sum of it"):
        mean.mean()


def test_an_array_where_the_model_has_no_number_is_refused() -> None:
    with pytest.raises(AggregationError, match=r"'note' has shape \(2,\), not \(\)"):
        mean_of((weights(note=np.zeros(2)), 1), model=weights(note=None))


def test_leaves_are_found_with_their_paths() -> None:
    tree = {"a": {"b": 1}, "c": [2, (3,)], "d": {}}
    assert list(leaves(tree)) == [(("a", "b"), 1), (("c", 0), 2), (("c", 1, 0), 3)]


# ---- bfloat16, float8, frameworks -----------------------------------------------------------

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


@pytest.mark.parametrize("dtype", [*SMALL_FLOATS, "c16", "g", "G", ">f4"])
def test_every_dtype_with_a_mean_gets_it_in_its_own_dtype(dtype: Any) -> None:
    one, two = np.array([[1, 2], [3, 4]], dtype), np.array([[5, 6], [7, 8]], dtype)
    found = mean_of((weights(w=one), 1), (weights(w=two), 3))["w"]
    assert found.dtype == one.dtype
    assert found.astype("c16").tolist() == [[4, 5], [6, 7]]


@pytest.mark.parametrize("dtype", SMALL_FLOATS)
@given(data=st.data())
def test_the_mean_of_small_floats_is_the_number_nearest_to_the_exact_mean(
    dtype: Any, data: st.DataObject
) -> None:
    bits = np.arange(1 << 8 * np.dtype(dtype).itemsize).astype(f"u{np.dtype(dtype).itemsize}")
    with np.errstate(invalid="ignore"):
        numbers = bits.view(dtype).astype("f8")
    finite = np.flatnonzero(np.abs(numbers) <= 2.0**16)
    # float64 holds the sums of these as they are, so that what is tested is the last rounding.
    sizes = np.abs(numbers[finite])
    finite = finite[(sizes == 0) | (sizes >= 2.0**-16)]
    picked = data.draw(st.lists(st.sampled_from(finite), min_size=2, max_size=4))
    shares = data.draw(
        st.lists(st.integers(1, 9), min_size=len(picked), max_size=len(picked)), label="weights"
    )
    results = [
        (weights(w=bits[at : at + 1].view(dtype)), float(share))
        for at, share in zip(picked, shares, strict=True)
    ]
    found = mean_of(*results)["w"]
    exact = sum(
        Fraction(numbers[at]) * share for at, share in zip(picked, shares, strict=True)
    ) / sum(shares)
    error = abs(Fraction(float(found[0])) - exact)
    ordered = np.unique(numbers[np.isfinite(numbers)])
    place = int(np.searchsorted(ordered, float(found[0])))
    for neighbour in ordered[max(place - 1, 0) : place + 2]:
        assert error <= abs(Fraction(neighbour) - exact)


def test_a_mean_is_rounded_once() -> None:
    """Just above the middle of two numbers, by less than float32 can tell."""
    one, two = np.array([1.0]), np.array([1 + 2**-7 + 2**-30])
    for first, second, nearest in [(one, two, 1 + 2**-7), (-one, -two, -1 - 2**-7)]:
        model = weights(w=np.zeros(1, ml_dtypes.bfloat16))
        mean = WeightedMean(model)
        mean.add(weights(w=first), 1)
        mean.add(weights(w=second), 1)
        assert float(mean.mean().data["w"][0]) == nearest


@pytest.mark.parametrize("dtype", SMALL_FLOATS)
def test_a_mean_that_a_small_float_does_not_have_is_refused_by_name(dtype: Any) -> None:
    mean = WeightedMean(weights(w=np.zeros(1, dtype)))
    mean.add(weights(w=np.array([1e39])), 1)
    with pytest.raises(AggregationError, match=f"mean of 'w' does not fit {np.dtype(dtype)}"):
        mean.mean()


@pytest.mark.parametrize("mark", [TorchArray, JaxArray])
@pytest.mark.parametrize("dtype", ["f4", "i8", "?", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
def test_what_stands_for_a_tensor_gets_a_mean_that_does_so_too(mark: Any, dtype: Any) -> None:
    arrays = [np.array([[1, 0]], dtype).view(mark), np.array(1, dtype).view(mark)]
    found = mean_of((weights(a=arrays), 1), (weights(a=[np.asarray(a) for a in arrays]), 1))["a"]
    for array, one in zip(arrays, found, strict=True):
        assert type(one) is mark
        assert one.dtype == dtype
        assert one.shape == array.shape
        assert one.tobytes() == array.tobytes()


def test_a_difference_of_another_framework_leaves_the_models_mark() -> None:
    model = weights(w=np.ones(2, ml_dtypes.bfloat16).view(TorchArray))
    delta = difference(w=np.ones(2, "f4"))
    found = mean_of((delta, 1), (delta, 1), model=model)["w"]
    assert type(found) is TorchArray
    assert found.dtype == ml_dtypes.bfloat16
    assert found.astype("f4").tolist() == [2, 2]


def test_the_mean_travels_as_what_came() -> None:
    """What the server does in a round: read frames of tensors, write a frame of tensors."""
    frames = [
        encode(weights(w=np.full((2, 3), number, ml_dtypes.bfloat16).view(TorchArray))).to_bytes()
        for number in (1, 3)
    ]
    mean = WeightedMean()
    for frame in frames:
        mean.add(decode(frame, frameworks=False).body, 1)
    back = decode(encode(mean.mean()).to_bytes(), frameworks=False).body.data["w"]
    assert type(back) is TorchArray
    assert back.dtype == ml_dtypes.bfloat16
    assert back.astype("f4").tolist() == [[2] * 3] * 2


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[D]", "U3", "S3", "V3"])
def test_an_array_of_which_there_is_no_mean_is_refused_by_name(dtype: str) -> None:
    data = {"layer": {"w": np.zeros(2, dtype)}}
    message = "'layer.w' is an array of dtype .*, of which there is no mean"
    with pytest.raises(AggregationError, match=message):
        WeightedMean(weights(**data))
    with pytest.raises(AggregationError, match=message):
        WeightedMean().add(weights(**data), 1)
