"""FOBS files: what is written is read again as it was, and nvflare's own bytes are understood."""

from __future__ import annotations

from base64 import b64decode
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from federant import DXO, DataKind
from federant.codec import fobs
from federant.exchange import AnalyticsDataType, Shareable, create_analytic_dxo

BY_NVFLARE = b64decode(
    """
    ZAAAAAAAAAACdIOtX19mb2JzX3R5cGVfX9kgbnZmbGFyZS5hcGlzLnNoYXJlYWJsZS5TaGFyZWFibGWtX19mb2JzX2RhdGFf
    X4KrX19oZWFkZXJzX1+DsF9fY29udGVudF90eXBlX1+jRFhPq19fdGFza19pZF9fonQxrV9fdGFza19uYW1lX1+ldHJhaW6j
    RFhPg6RraW5kg61fX2ZvYnNfdHlwZV9fuW52ZmxhcmUuYXBpcy5keG8uRGF0YUtpbmStX19mb2JzX2RhdGFfX6dXRUlHSFRT
    q19fZm9ic19kY19f2TVudmZsYXJlLmZ1ZWwudXRpbHMuZm9icy5kZWNvbXBvc2VyLkVudW1UeXBlRGVjb21wb3NlcqRkYXRh
    gaF3g61fX2ZvYnNfdHlwZV9frW51bXB5Lm5kYXJyYXmtX19mb2JzX2RhdGFfX4KkdHlwZaZuYXRpdmWkZGF0YcSEk05VTVBZ
    AQB2AHsnZGVzY3InOiAnPGY0JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDEsKSwgfSAgICAgICAgICAg
    ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAMA/q19fZm9ic19kY19f2UVudmZs
    YXJlLmFwcF9jb21tb24uZGVjb21wb3NlcnMubnVtcHlfZGVjb21wb3NlcnMuTnVtcHlBcnJheURlY29tcG9zZXKkbWV0YYCr
    X19mb2JzX2RjX1/ZMW52ZmxhcmUuZnVlbC51dGlscy5mb2JzLmRlY29tcG9zZXIuRGljdERlY29tcG9zZXI=
"""
)
"""`fobs.dumps` of nvflare 2.7.3: a task "t1" of name "train" with the float32 array [1.5]."""


def round_trip(value: object) -> Any:
    return fobs.load(bytearray(b"".join(fobs.dump(value))))


def test_a_file_of_nvflare_is_read() -> None:
    task = fobs.load(BY_NVFLARE)
    assert type(task) is Shareable
    assert task.get_header("__task_id__") == "t1"
    assert task.get_header("__task_name__") == "train"
    assert task["DXO"]["kind"] is DataKind.WEIGHTS
    np.testing.assert_array_equal(task["DXO"]["data"]["w"], np.array([1.5], np.float32))
    assert task["DXO"]["data"]["w"].dtype == np.float32
    assert task["DXO"]["meta"] == {}


def test_a_small_task_is_written_as_nvflare_writes_it() -> None:
    task = DXO(DataKind.WEIGHTS, {"w": np.array([1.5], np.float32)}).to_shareable()
    task.set_header("__task_id__", "t1")
    task.set_header("__task_name__", "train")
    assert b"".join(fobs.dump(task)) == BY_NVFLARE


def test_a_metric_is_written_and_read_as_a_dxo() -> None:
    record = create_analytic_dxo("loss", 0.5, AnalyticsDataType.SCALAR, global_step=3)
    again = round_trip(record)
    assert type(again) is DXO
    assert again.data_kind is DataKind.ANALYTIC
    assert again.data == record.data
    assert again.meta == record.meta
    assert {type(value) for value in again.meta.values()} == {
        type(value) for value in record.meta.values()
    }


_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.just(UTC))
    | st.sampled_from(DataKind)
    | st.builds(np.float32, st.floats(width=32, allow_nan=False))
    | st.builds(np.int64, st.integers(-(2**63), 2**63 - 1))
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=8) | st.integers(-9, 9), inner, max_size=4)
        | st.lists(st.tuples(st.text(max_size=8), inner), max_size=4).map(OrderedDict)
        | st.sets(st.integers().filter(lambda n: abs(n) < 2**60) | st.text(max_size=8), max_size=4)
    ),
    max_leaves=12,
)


def same(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@given(_VALUES)
def test_values_come_out_as_they_went_in(value: object) -> None:
    assert same(round_trip(value), value)


@given(
    hnp.arrays(
        hnp.boolean_dtypes()
        | hnp.integer_dtypes(endianness="?")
        | hnp.floating_dtypes(endianness="?")
        | hnp.complex_number_dtypes()
        | hnp.datetime64_dtypes(),
        hnp.array_shapes(min_dims=0, min_side=0, max_dims=4),
    )
)
def test_arrays_come_out_as_they_went_in(array: np.ndarray[Any, Any]) -> None:
    for layout in (array, array.T, array[..., ::2] if array.ndim else array):
        again = round_trip({"x": layout})["x"]
        assert again.dtype == layout.dtype
        assert again.shape == layout.shape
        assert again.tobytes() == layout.tobytes()


def test_large_values_have_a_section_of_their_own_and_are_not_copied() -> None:
    array = np.arange(100_000, dtype=np.float32)
    pieces = list(fobs.dump({"a": array, "b": b"x" * 70_000, "c": "y" * 70_000}))
    assert any(np.shares_memory(array, np.frombuffer(piece, np.uint8)) for piece in pieces)
    file = bytearray(b"".join(pieces))
    again = fobs.load(file)
    assert np.shares_memory(again["a"], np.frombuffer(file, np.uint8))
    assert again["a"].flags.writeable
    np.testing.assert_array_equal(again["a"], array)
    assert again["b"] == b"x" * 70_000
    assert again["c"] == "y" * 70_000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, object()]}, r"\['a'\]\[1\] is of type object"),
        ({"a": 2**64}, r"\['a'\] is an int of more than 64 bits"),
        ({"a": np.array([None])}, r"\['a'\] is an array of dtype object"),
        ({(1, 2): 3}, r"the value has the key \(1, 2\)"),
    ],
)
def test_what_has_no_type_in_the_format_is_refused_with_its_place(value: object, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        list(fobs.dump(value))


def test_a_time_keeps_its_zone_and_a_naive_one_has_none() -> None:
    naive = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - that is the case
    assert round_trip([naive, naive.replace(tzinfo=UTC)]) == [naive, naive.replace(tzinfo=UTC)]
