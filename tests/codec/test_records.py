"""Arrays of records and single records come back with their dtype, and nothing else with them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from federant.codec import FrameError, Limits, TorchArray, decode, encode, read_layout
from federant.exchange import DXO, DataKind

UNUSED = 0xAA
"""What lies in the padding of the arrays that are made here."""

scalars = st.one_of(
    st.sampled_from(["?", "i1", "<i4", ">i8", "u2", "<f2", ">f4", "f8", ">c8", "c16", "g", ">G"]),
    st.sampled_from(["M8[ns]", ">M8[25s]", "m8", "S3", "U2", ">U5", "V4"]),
    st.sampled_from([ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e3m4]),
).map(np.dtype)
names = st.sampled_from(["a", "b", "c:d", "", "é", "e\0", " ", "x" * 300, "f0"])
shapes = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)


@st.composite
def structures(draw: st.DrawFn, fields: st.SearchStrategy[np.dtype]) -> np.dtype:
    """Records laid out as numpy does, as C does, or with gaps; with titles, or of numpy.record."""
    called = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    titles = [called.pop() if draw(st.booleans()) else None for _ in range(len(called) // 2)]
    formats = [(draw(fields), draw(shapes)) for _ in called]
    parts: dict[str, Any] = {"names": called, "formats": formats}
    if any(titles):
        parts["titles"] = titles + [None] * (len(called) - len(titles))
    dtype = np.dtype(parts, align=draw(st.booleans()))
    if draw(st.booleans()):
        gaps = [draw(st.integers(0, 9)) for _ in called]
        sizes = [np.dtype(one).itemsize for one in formats]
        ends = np.cumsum([gap + size for gap, size in zip(gaps, sizes, strict=True)])
        parts["offsets"] = [int(end) - size for end, size in zip(ends, sizes, strict=True)]
        parts["itemsize"] = int(ends[-1]) + draw(st.integers(0, 9))
        dtype = np.dtype(parts)
    return np.dtype((np.record, dtype)) if draw(st.booleans()) else dtype


flat = structures(scalars)
dtypes = st.one_of(flat, structures(st.one_of(scalars, flat, structures(flat)))).filter(
    lambda dtype: dtype.itemsize > 0
)


@st.composite
def record_arrays(draw: st.DrawFn) -> np.ndarray:
    """Of any dtype and values, with bytes in their padding that nobody means to send."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    dtype = draw(dtypes)
    array = np.full((*shape, dtype.itemsize), UNUSED, "u1").view(dtype).reshape(shape)
    fill(array, np.random.default_rng(draw(st.integers(0, 99))).bytes)
    return array


def fill(array: np.ndarray, bytes_of: Any) -> None:
    """Any values into an array, field by field."""
    if array.dtype.names is None and array.nbytes:
        raw = np.frombuffer(bytes_of(array.nbytes), "u1")
        match array.dtype.kind:
            case "b":
                raw = raw & 1
            case "U":
                order = array.dtype.byteorder
                raw = (np.frombuffer(raw, "u4") % 0xD800).astype(f"{order}u4").view("u1")
        array[...] = raw.view(array.dtype).reshape(array.shape)
    for name in array.dtype.names or ():
        fill(array[name], bytes_of)


def assert_same_dtype(found: np.dtype, sent: np.dtype) -> None:
    assert found == sent
    assert (found.type, found.isalignedstruct) == (sent.type, sent.isalignedstruct)
    assert (found.names, found.itemsize) == (sent.names, sent.itemsize)
    for name in sent.names or ():
        (one, *rest), (other, *others) = found.fields[name], sent.fields[name]  # type: ignore[index]
        assert rest == others  # the offset and the title
        assert one.shape == other.shape
        assert_same_dtype(one.base, other.base)


def assert_same_values(found: Any, sent: Any) -> None:
    assert found.shape == sent.shape
    for name in sent.dtype.names or ():
        assert_same_values(found[name], sent[name])
    if sent.dtype.names is None:
        assert used(np.asarray(found)) == used(np.asarray(sent))


def used(array: np.ndarray) -> bytes:
    """The bytes of an array of scalars; of the long double of x86 those that it uses."""
    if array.dtype.type not in (np.longdouble, np.clongdouble):
        return array.tobytes()
    native = array.astype(array.dtype.newbyteorder("="))
    numbers = native.reshape(-1).view("u1").reshape(-1, np.dtype("g").itemsize)
    return numbers[:, :10].tobytes()


def round_trip(body: object) -> Any:
    return decode(bytearray(encode(body).to_bytes())).body


@settings(max_examples=60)
@given(record_arrays())
def test_arrays_of_records_come_back_with_their_dtype(array: np.ndarray) -> None:
    found = round_trip({"a": array})["a"]
    assert type(found) is np.ndarray
    assert_same_dtype(found.dtype, array.dtype)
    assert_same_values(found, array)


@settings(max_examples=60)
@given(record_arrays().filter(lambda array: array.size))
def test_a_single_record_comes_back_with_its_type(array: np.ndarray) -> None:
    sent = array.reshape(-1)[0]
    found = round_trip([sent])[0]
    assert type(found) is type(sent)
    assert_same_dtype(found.dtype, sent.dtype)
    assert_same_values(found, sent)


@settings(max_examples=60)
@given(record_arrays())
def test_a_recarray_comes_back_as_one(array: np.ndarray) -> None:
    sent = array.view(np.recarray)
    found = round_trip([sent])[0]
    assert type(found) is np.recarray
    assert_same_dtype(found.dtype, sent.dtype)
    assert_same_values(found, sent)


def is_zero(array: np.ndarray) -> bool:
    return not np.frombuffer(array.tobytes(), "u1").any()


@settings(max_examples=60)
@given(dtypes)
def test_what_lies_between_the_fields_stays_at_home(dtype: np.dtype) -> None:
    array = np.full((2, 3, dtype.itemsize), UNUSED, "u1").view(dtype).reshape(2, 3)
    fill(array, bytes)
    for sent in (array, array.T, array[0, 0], array.view(np.recarray)):
        frame = encode([sent])
        target = bytearray(bytes([UNUSED])) * frame.size
        frame.write_into(target)
        assert bytes(target) == frame.to_bytes()
        assert is_zero(np.asarray(decode(target).body[0]))


def test_a_strided_and_a_transposed_array_of_records_come_back() -> None:
    whole = np.arange(48, dtype="<f4").view([("x", "<f4"), ("y", ">u2", (2,))]).reshape(4, 6)
    for array in (whole[:, ::2], whole.T, whole[::-1], np.asfortranarray(whole), whole[:0]):
        np.testing.assert_array_equal(round_trip([array])[0], array)


def test_an_array_of_records_is_a_view_of_the_frame_that_can_be_written_to() -> None:
    array = np.zeros(3, np.dtype([("n", "i1"), ("x", "f8")], align=True))
    buffer = bytearray(encode({"odd": np.zeros(3, "S5"), "a": array}).to_bytes())
    view = decode(buffer).body["a"]
    assert view.flags.aligned
    assert np.shares_memory(view, np.frombuffer(buffer, "u1"))
    view["x"] = 2
    assert decode(buffer).body["a"]["x"].tolist() == [2, 2, 2]


def test_a_record_can_be_written_to_where_it_could_and_is_a_key_where_it_was_one() -> None:
    array = np.zeros(2, [("a", "i4"), ("b", "f4")])
    record = round_trip(array[0])
    record["a"] = 3
    assert record["a"] == 3
    array.flags.writeable = False
    body = {array[1]: "x", (1, array[0]): {array[0]}}
    assert round_trip(body) == body


def test_the_fields_that_are_left_of_a_selection_keep_their_places() -> None:
    array = np.zeros(2, [("a", "i4"), ("b", "f8"), ("c", "S3")])[["a", "c"]]
    assert_same_dtype(round_trip([array])[0].dtype, array.dtype)


def test_fields_that_lie_over_each_other_come_back() -> None:
    parts = {"names": ["rgba", "r", "all"], "formats": ["u4", "u1", ("u1", (4,))]}
    array = np.arange(3, dtype="u4").view(np.dtype({**parts, "offsets": [0, 2, 0]}))  # type: ignore[call-overload]
    found = round_trip([array])[0]
    assert_same_dtype(found.dtype, array.dtype)
    assert_same_values(found, array)


def test_safetensors_sees_the_bytes_of_records_and_the_layout_their_dtype() -> None:
    array = np.zeros((2, 3), [("a", "i4"), ("b", "f8")])
    frame = encode({"a": array}).to_bytes()
    span = read_layout(frame, len(frame)).tensors[0]
    assert (span.dtype, span.shape) == ("U8", (2, 3, 12))
    span = read_layout(frame, len(frame)).body()["a"]
    assert (span.dtype, span.shape, span.numpy_dtype) == ("|V12", (2, 3), array.dtype)


def test_a_mark_on_an_array_of_records_does_not_travel_further_than_its_framework() -> None:
    with pytest.raises(TypeError, match="which torch does not have"):
        encode(np.zeros(1, [("a", "i4")]).view(TorchArray))


# ---- what cannot travel ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(1, [("a", "i4"), ("b", "O")]), "its field 'b' has dtype object; fields of these"),
        (np.zeros(1, [("a", [("b", "O", (2,))])]), "its field 'a.b' has dtype object"),
        (np.zeros(1, [("a", ml_dtypes.int4)]), "its field 'a' has dtype int4"),
        (np.zeros(1, [("a", "i4"), ("b", "S0")]), "its field 'b' has dtype"),
        (np.zeros(1, []), "a record in the frame has no bytes"),
        (
            np.zeros(1, np.dtype({"names": ["a"], "formats": ["i4"], "titles": [3]})),  # type: ignore[call-overload]
            "its field 'a' has a title of type int",
        ),
        (np.zeros(1, [("\ud800", "i4")]), "a name that is no text"),
        (
            np.zeros(
                1, np.dtype({"names": [*"123456789"], "formats": ["i4"] * 9, "offsets": [0] * 9})
            ),  # type: ignore[call-overload]
            "fields of a record in the frame have 36 bytes in all, the record has 4",
        ),
    ],
)
def test_records_that_cannot_travel_are_refused_with_their_path(
    array: np.ndarray, reason: str
) -> None:
    for value in (array, array[0]):
        with pytest.raises(TypeError, match=r"^data\['w'\]\[1\] cannot travel: .*" + reason):
            encode(DXO(DataKind.WEIGHTS, {"w": [0, value]}))


def test_a_recarray_without_fields_and_a_masked_array_of_records_are_refused() -> None:
    with pytest.raises(TypeError, match=r"a recarray of dtype float64.* send numpy\.asarray"):
        encode(np.zeros(3).view(np.recarray))
    with pytest.raises(TypeError, match=r"it is a numpy\.ma\.(core\.)?MaskedArray"):
        encode(np.ma.masked_array(np.zeros(1, "i4,f4")))


def test_records_nested_deeper_than_they_are_read_are_refused_at_the_sender() -> None:
    dtype = np.dtype([("a", "i4")])
    for _ in range(15):
        dtype = np.dtype([("a", dtype)])
    assert_same_dtype(round_trip(np.zeros(1, dtype)).dtype, dtype)
    with pytest.raises(TypeError, match="nests deeper than 16 levels"):
        encode(np.zeros(1, [("a", dtype)]))


@pytest.mark.parametrize(
    "body",
    [
        np.zeros(2, [("a", "i4"), ("b", [("c", "f4", (2, 2))])]),
        np.zeros(2, [("a", "i4"), ("b", "f8")]).view(np.recarray),
        np.zeros(2, [(("title", "a"), "i4")])[0],
    ],
    ids=["records", "recarray", "record"],
)
def test_the_parts_of_a_dtype_count_as_values_at_both_ends(body: Any) -> None:
    values = next(number for number in range(100) if travels(body, Limits(items=number)))
    frame = encode(body, limits=Limits(items=values)).to_bytes()
    decode(frame, limits=Limits(items=values))
    with pytest.raises(FrameError, match=f"more than {values - 1} values"):
        decode(frame, limits=Limits(items=values - 1))


def travels(body: object, limits: Limits) -> bool:
    try:
        encode(body, limits=limits)
    except TypeError:
        return False
    return True
