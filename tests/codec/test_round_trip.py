"""Whatever may travel comes back with its value and type."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from datetime import UTC, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import ml_dtypes
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
    ParamsType,
    Shareable,
    create_analytic_dxo,
)

DTYPES = [
    "?",
    "i1",
    "i2",
    "i4",
    "i8",
    "u1",
    "u2",
    "u4",
    "u8",
    "f2",
    "f4",
    "f8",
    "c8",
    "c16",
    "g",
    "G",
]
UNITS = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "25s", "7D"]
ML_DTYPES = [
    "bfloat16",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
]

dtypes = st.one_of(
    st.sampled_from(DTYPES).map(np.dtype),
    st.builds("{}8[{}]".format, st.sampled_from("mM"), st.sampled_from(UNITS)).map(np.dtype),
    st.builds("{}{}".format, st.sampled_from("SU"), st.integers(1, 20)).map(np.dtype),
)
zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.builds(
        timezone,
        st.timedeltas(timedelta(hours=-23), timedelta(hours=23)),
    ),
    st.builds(timezone, st.just(timedelta(hours=1)), st.text(min_size=1, max_size=5)),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from([*DataKind, *AnalyticsDataType, *LogWriterName, *ParamsType]),
    st.binary(max_size=20).map(bytearray),
    st.floats(width=32).map(np.float32),
    st.integers(0, 255).map(np.uint8),
    st.booleans().map(np.bool_),
    st.complex_numbers(),
    st.datetimes(timezones=zones),
    st.datetimes().map(lambda moment: moment.replace(fold=1)),
    st.dates(),
    st.times(timezones=zones),
    st.timedeltas(),
    dtypes.flatmap(hnp.from_dtype).filter(lambda value: isinstance(value, np.generic)),
)
arrays = hnp.arrays(
    dtype=st.builds(np.dtype.newbyteorder, dtypes, st.sampled_from("<>")),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
raw_arrays = st.builds(
    lambda raw, dtype: raw.repeat(dtype.itemsize, axis=-1).view(dtype),
    hnp.arrays("u1", hnp.array_shapes(min_dims=1, max_dims=3, min_side=0)),
    st.sampled_from(
        [np.dtype(name) for name in ("m8", "M8", ">M8", "V1", "V7")]
        + [np.dtype(getattr(ml_dtypes, name)) for name in ML_DTYPES]
    ),
)
"""Of every byte."""
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
    st.dates(),
    st.frozensets(st.integers(), max_size=3),
)
values = st.recursive(
    st.one_of(
        scalars,
        arrays,
        raw_arrays,
        long_text,
        long_text.map(str.encode),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
    ),
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


def raw(values: Any) -> bytes:
    """The bytes of an array or scalar, but for those that a long double does not use."""
    array = np.asarray(values)
    if array.dtype.type not in (np.longdouble, np.clongdouble):
        return array.tobytes()
    parts = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
    parts = parts.reshape(-1).view(np.longdouble)
    used = 10 if np.finfo(np.longdouble).nmant == 63 else parts.itemsize
    return parts.view("u1").reshape(-1, parts.itemsize)[:, :used].tobytes()


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
        assert found.dtype == sent.dtype
        assert raw(found) == raw(sent)  # bit for bit, also the payload of a NaN
    elif isinstance(sent, np.str_):
        assert found == sent
    elif isinstance(sent, np.generic):
        assert found.dtype == sent.dtype
        assert raw(found) == raw(sent)
    elif isinstance(sent, float | complex):
        assert repr(found) == repr(sent)  # NaN equals nothing, and -0.0 equals 0.0
    elif isinstance(sent, set | frozenset):
        assert found == sent
        types = dict(zip(sent, map(type, sent), strict=True))
        assert {member: type(member) for member in found} == types
    elif isinstance(sent, datetime | time):
        assert repr(found) == repr(sent)  # with the fold and the zone's name
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


@pytest.mark.skipif(np.finfo(np.longdouble).nmant != 63, reason="they have no padding here")
@pytest.mark.parametrize("dtype", ["<f16", ">f16", "<c32", ">c32"])
def test_what_lies_in_the_padding_of_long_doubles_stays_at_home(dtype: str) -> None:
    secret = np.frombuffer(b"\0" * 10 + b"secret", "u1").repeat(4).reshape(16, 4).T
    array = np.ascontiguousarray(secret).reshape(-1).view("<f16").astype(dtype[0] + "f16")
    for body in (array.view(dtype), array.view(dtype)[0]):
        assert b"secret" not in encode(body).to_bytes()
        assert b"terces" not in encode(body).to_bytes()


@given(raw_arrays)
def test_arrays_of_bfloat16_and_float8_and_raw_ones_come_back(array: np.ndarray) -> None:
    assert_same(round_trip({"a": array})["a"], array)
    assert_same(round_trip([array.ravel()[:1]])[0], array.ravel()[:1])


@pytest.mark.parametrize("name", ML_DTYPES)
def test_scalars_of_bfloat16_and_float8_come_back(name: str) -> None:
    assert_same(round_trip(np.ones(1, getattr(ml_dtypes, name))[0]), np.ones((), name)[()])


@pytest.mark.parametrize("dtype", ["?", "i4", ">f4", "c16", ">G", "M8[25s]", "S3", ">U3", "V5"])
def test_arrays_of_no_dimension_and_empty_and_strided_ones_come_back(dtype: str) -> None:
    whole = np.zeros((4, 6), dtype)
    for array in (whole[0, 0:1].reshape(()), whole[:0], whole[:, ::2], whole.T, whole[::-1]):
        assert_same(round_trip([array])[0], array)


@pytest.mark.parametrize("dtype", ["c16", "g", "M8[ns]", "U3", "V5", "S5", ml_dtypes.bfloat16])
def test_an_array_of_a_dtype_that_safetensors_lacks_is_a_view_too(dtype: Any) -> None:
    buffer = bytearray(encode({"odd": np.zeros(3, "S5"), "a": np.zeros(3, dtype)}).to_bytes())
    view = decode(buffer).body["a"]
    assert view.flags.aligned
    assert np.shares_memory(view, np.frombuffer(buffer, "u1"))


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


@pytest.mark.parametrize("count", [0, 3, 5000])
def test_texts_and_bytes_of_numpy_come_back_as_they_are(count: int) -> None:
    for sent in (np.str_("é" * count), np.bytes_(b"\0x" * count)):
        for found in (round_trip(sent), next(iter(round_trip({sent: 1})))):
            assert type(found) is type(sent)
            assert found == sent


def test_an_integer_type_that_is_another_name_comes_back_under_the_usual_one() -> None:
    assert round_trip(np.longlong(3)) == 3
    assert round_trip(np.ones(1, np.longlong)).dtype == np.longlong


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
