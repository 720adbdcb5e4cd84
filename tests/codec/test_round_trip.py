"""Whatever may travel comes back with its value and type."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from federant.codec import decode, encode
from federant.exchange import (
    DXO,
    AnalyticsDataType,
    DataKind,
    LogWriterName,
    Shareable,
    create_analytic_dxo,
)

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from([*DataKind, *AnalyticsDataType, *LogWriterName]),
    st.binary(max_size=20).map(bytearray),
    st.floats(width=32).map(np.float32),
    st.integers(0, 255).map(np.uint8),
    st.booleans().map(np.bool_),
)
arrays = hnp.arrays(
    dtype=st.sampled_from([np.dtype(d) for d in DTYPES] + [np.dtype(">f4"), np.dtype(">i8")]),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
long_text = st.builds(lambda c, n: c * n, st.text(min_size=1, max_size=2), st.integers(4000, 5000))
keys = st.one_of(
    st.text(max_size=8),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.none(),
    st.binary(max_size=4),
    st.floats(allow_nan=False),
    st.sampled_from(list(DataKind)),
    st.tuples(st.integers(), st.text(max_size=4)),
)
values = st.recursive(
    st.one_of(scalars, arrays, long_text, long_text.map(str.encode)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(st.text(max_size=6), inner, max_size=4).map(Shareable),
        st.builds(
            DXO,
            st.sampled_from(list(DataKind)),
            st.dictionaries(st.text(max_size=6), inner, max_size=4),
            st.dictionaries(st.text(max_size=6), inner, max_size=2),
        ),
    ),
    max_leaves=12,
)


def round_trip(body: object) -> Any:
    return decode(encode(body).to_bytes()).body


def assert_same(found: Any, sent: Any) -> None:
    assert type(found) is type(sent)
    if isinstance(sent, DXO):
        assert_same(
            [found.data_kind, found.data, found.meta], [sent.data_kind, sent.data, sent.meta]
        )
    elif isinstance(sent, dict):
        # One by one: NaN equals nothing, and the order counts.
        assert len(found) == len(sent)
        for (found_key, found_value), (key, value) in zip(found.items(), sent.items(), strict=True):
            assert_same(found_key, key)
            assert_same(found_value, value)
    elif isinstance(sent, list | tuple):
        assert len(found) == len(sent)
        for one, other in zip(found, sent, strict=True):
            assert_same(one, other)
    elif isinstance(sent, np.ndarray):
        assert found.shape == sent.shape
        assert found.dtype == sent.dtype.newbyteorder("=")
        # Bit for bit, also the payload of a NaN.
        assert found.tobytes() == sent.astype(sent.dtype.newbyteorder("=")).tobytes()
    elif isinstance(sent, float | np.floating) and math.isnan(sent):
        assert math.isnan(found)
    elif isinstance(sent, float) and sent == 0:
        assert math.copysign(1, found) == math.copysign(1, sent)
    else:
        assert found == sent


@given(values)
def test_any_value_comes_back_with_its_type(body: Any) -> None:
    assert_same(round_trip(body), body)


@given(values)
def test_every_way_of_writing_gives_the_same_bytes(body: Any) -> None:
    frame = encode(body)
    whole = frame.to_bytes()
    target = bytearray(b"\xaa" * frame.size)
    frame.write_into(memoryview(target))
    assert bytes(target) == whole
    assert len(whole) == frame.size


@given(arrays)
def test_arrays_of_every_dtype_shape_and_byte_order_come_back(array: np.ndarray) -> None:
    assert_same(round_trip({"a": array})["a"], array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(4, 6)[:, ::2],
        np.arange(24.0).reshape(4, 6).T,
        np.asfortranarray(np.arange(24, dtype="i2").reshape(4, 6)),
        np.broadcast_to(np.float32(3), (5, 2)),
        np.arange(10)[::-1],
    ],
    ids=["strided", "transposed", "fortran", "broadcast", "reversed"],
)
def test_an_array_that_is_not_contiguous_comes_back_by_its_values(array: np.ndarray) -> None:
    np.testing.assert_array_equal(round_trip([array])[0], array)


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**50])
def test_integers_of_any_size_come_back(number: int) -> None:
    assert round_trip([number, {number: number}, (number,)]) == [
        number,
        {number: number},
        (number,),
    ]


def test_the_same_array_twice_comes_back_as_two() -> None:
    array = np.ones(3)
    back = round_trip({"a": array, "b": array})
    assert not np.shares_memory(back["a"], back["b"])


def test_dict_types_of_the_standard_library_come_back_as_dicts_in_order() -> None:
    ordered = OrderedDict([("b", 1), ("a", 2)])
    back = round_trip([ordered, defaultdict(list, x=[1])])
    assert type(back[0]) is dict
    assert list(back[0]) == ["b", "a"]
    assert back[1] == {"x": [1]}


def test_subclasses_of_what_travels_come_back_as_the_class_itself() -> None:
    class MyShareable(Shareable):
        pass

    class MyDXO(DXO):
        pass

    assert type(round_trip(MyShareable({"a": 1}))) is Shareable
    assert type(round_trip(MyDXO(DataKind.WEIGHTS, {}))) is DXO
    assert round_trip([np.str_("text"), np.bytes_(b"raw")]) == ["text", b"raw"]


def test_a_memory_mapped_array_comes_back_as_a_plain_one(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "m", dtype="f4", mode="w+", shape=(2, 2))
    mapped[:] = 3
    back = round_trip(mapped)
    assert type(back) is np.ndarray
    assert back.tolist() == [[3, 3], [3, 3]]


def test_an_analytic_record_comes_back_with_its_enums() -> None:
    dxo = create_analytic_dxo("loss", 0.5, AnalyticsDataType.SCALAR, global_step=1)
    back = round_trip(dxo)
    assert back.meta["analytics_data_type"] is AnalyticsDataType.SCALAR
    assert back.meta["tracker_key"] is LogWriterName.TORCH_TB


def test_a_plain_string_kind_stays_a_plain_string() -> None:
    assert type(round_trip(DXO("WEIGHTS", {})).data_kind) is str


def test_long_headers_are_read_from_the_header_alone_and_come_back() -> None:
    shareable = Shareable()
    shareable.set_header("__error__", "é" * 10_000)
    frame = encode(shareable)
    assert frame.tensors == ()
    assert decode(frame.to_bytes()).body == shareable


def test_a_large_body_of_plain_values_comes_back() -> None:
    body = {"rows": [{"i": i, "t": (i,)} for i in range(10_000)], "numbers": list(range(200_000))}
    assert round_trip(body) == body
