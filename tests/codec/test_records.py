"""Arrays of records and single records come back with their dtype, and nothing else with them."""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from federant.codec import FrameError, Limits, TorchArray, decode, encode, read_layout
from federant.exchange import DXO, DataKind

RECORDS, RECARRAY, RECORD = (msgpack.ExtType(code, b"") for code in (70, 71, 72))
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


def frame_of_record(description: object, raw: object = bytes(16), writeable: object = True) -> Any:
    """A frame whose body is one record with whatever is asked for in it."""
    return decode(with_body([RECORD, description, raw, writeable]))


def with_body(body: object) -> bytes:
    packed = base64.b64encode(msgpack.packb([1, {}, body])).decode()
    text = json.dumps({"__metadata__": {"federant": packed}}).encode()
    return len(text).to_bytes(8, "little") + text


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


# ---- bytes from anyone ----------------------------------------------------------------------

SOUND = [16, False, False, ["a", 0, [], "F32"], ["b", 4, [3], "BOOL"], ["c", 8, [], "<U1"]]


def test_the_record_made_here_is_sound() -> None:
    body = frame_of_record(SOUND).body
    assert (body["a"], body["b"].tolist(), body["c"]) == (0, [False] * 3, "")


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (None, "no list of its size, its two marks and fields"),
        ([16, False], "no list of its size, its two marks and fields"),
        ("f4,f4", "no list of its size"),
        ([16, 0, False], "of which kind it is"),
        ([16, False, None], "of which kind it is"),
        ([0, False, False], "has no bytes"),
        ([-1, False, False], "a size of -1, it must be a number from 0"),
        ([2**40, False, False], "a size of 1099511627776"),
        ([16.0, False, False], "a size of <class 'float'>"),
        ([True, False, False], "a size of <class 'bool'>"),
        ([16, False, False, 3], "no list of its name, offset, shape and type"),
        ([16, False, False, ["a", 0, []]], "no list of its name, offset, shape and type"),
        ([16, False, False, ["a", 0, [], "F32", "t", 1]], "no list of its name"),
        ([16, False, False, [1, 0, [], "F32"]], "name or title that is no text"),
        ([16, False, False, [b"a", 0, [], "F32"]], "name or title that is no text"),
        ([16, False, False, ["a", 0, [], "F32", 5]], "name or title that is no text"),
        ([16, False, False, ["a", -1, [], "F32"]], "an offset of -1"),
        ([16, False, False, ["a", 13, [], "F32"]], "'a' of a record in the frame ends behind the"),
        ([16, False, False, ["a", 2**62, [], "F32"]], "an offset of 4611686018427387904"),
        ([16, False, False, ["a", 0, [5], "F32"]], "ends behind the record, which has 16 bytes"),
        ([16, False, False, ["a", 0, [-1], "F32"]], "a length of -1"),
        ([16, False, False, ["a", 0, 4, "F32"]], "no list of up to 32 lengths"),
        ([16, False, False, ["a", 0, [1] * 33, "F32"]], "no list of up to 32 lengths"),
        ([16, False, False, ["a", 0, [2**29, 2**29, 0], "F32"]], "a number of elements of"),
        ([16, False, False, ["a", 0, [2**20] * 32, "F32"]], "a number of elements of <class 'int"),
        ([16, False, False, ["a", 0, [], "O"]], "unknown dtype 'O'"),
        ([16, False, False, ["a", 0, [], "object"]], "unknown dtype 'object'"),
        ([16, False, False, ["a", 0, [], "|O"]], "unknown dtype"),
        ([16, False, False, ["a", 0, [], ">O"]], "unknown dtype"),
        ([16, False, False, ["a", 0, [], "i4,O"]], "unknown dtype"),
        ([16, False, False, ["a", 0, [], "f4"]], "unknown dtype 'f4'"),
        ([16, False, False, ["a", 0, [], "F32 "]], "unknown dtype"),
        ([16, False, False, ["a", 0, [], ">>F32"]], "unknown dtype"),
        ([16, False, False, ["a", 0, [], ""]], "unknown dtype"),
        ([16, False, False, ["a", 0, [], "__import__('os').system('true')"]], "unknown dtype"),
        ([16, False, False, ["a", 0, [], 3]], "no list of its size"),
        ([16, False, False, ["a", 0, [], None]], "no list of its size"),
        ([16, False, False, ["a", 0, [], RECORD]], "no list of its size"),
        ([16, False, False, ["a", 0, [], {}]], "no list of its size"),
        ([16, False, False, ["a", 0, [], "F32"], ["a", 4, [], "F32"]], "none that numpy has"),
        ([16, False, False, ["a", 0, [], "F32", "a"]], "none that numpy has"),
        ([16, False, True, ["a", 1, [], "F32"]], "none that numpy has"),
        ([15, False, True, ["a", 0, [], "F32"]], "none that numpy has"),
        ([16, False, False, ["a", 0, [], [17, False, False]]], "ends behind the record"),
        ([4, False, False, *[[str(n), 0, [], "F32"] for n in range(9)]], "36 bytes in all, the"),
        (
            [4, False, False]
            + [
                [f"{n}", 0, [2], [2, False, False] + [[str(m), 0, [], "I8"] for m in range(20)]]
                for n in range(1)
            ],
            "40 bytes in all",
        ),
    ],
)
def test_a_description_that_is_no_dtype_is_refused(description: object, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match=message):
            frame_of_record(description)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_description_that_nests_too_deep_is_refused() -> None:
    description: list[object] = [16, False, False]
    for _ in range(400):
        description = [16, False, False, ["a", 0, [], description]]
    with pytest.raises(FrameError, match=r"nests deeper than 16 levels|no msgpack"):
        frame_of_record(description)


JUNK = [
    None,
    True,
    -1,
    0,
    7,
    2**31,
    2**63,
    1.5,
    "",
    "O",
    "F64",
    b"a",
    [],
    [1],
    {},
    {"a": 1},
    RECORD,
]


@settings(max_examples=300)
@given(st.data())
def test_a_description_with_any_part_changed_is_refused_or_gives_what_can_travel(
    data: st.DataObject,
) -> None:
    nested: list[Any] = [32, True, False, ["x", 4, [1], SOUND, "title"], ["y", 24, [], ">F64"]]
    description = msgpack.unpackb(msgpack.packb(nested))
    for _ in range(data.draw(st.integers(1, 3))):
        place = description
        while True:
            index = data.draw(st.integers(0, len(place) - 1))
            if not (isinstance(place[index], list) and place[index] and data.draw(st.booleans())):
                break
            place = place[index]
        if data.draw(st.booleans()):
            place[index] = data.draw(st.sampled_from(JUNK))
        else:
            place.insert(index, data.draw(st.sampled_from(JUNK)))
    try:
        body = frame_of_record(description, bytes(32)).body
    except FrameError:
        return
    assert not body.dtype.hasobject
    encode(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([RECORD, SOUND, bytes(15), True], "a record of 16 bytes in the envelope has 15 bytes"),
        ([RECORD, SOUND, bytes(16), 1], "no dtype, bytes and whether to write it"),
        ([RECORD, SOUND, "a" * 16, True], "no dtype, bytes and whether to write it"),
        ([RECORD, SOUND, bytes(16)], "no dtype, bytes and whether to write it"),
        ([RECORD], "no dtype, bytes and whether to write it"),
        ([RECORD, SOUND, b"\2" * 16, True], "has dtype BOOL and bytes other than 0 and 1"),
        ([RECORD, SOUND, bytes(8) + b"\xff" * 8, True], r"\['c'\].* bytes that are no text"),
        ([RECORDS, SOUND, bytes(16)], "no dtype and tensor"),
        ([RECORDS, SOUND], "no dtype and tensor"),
        ([RECARRAY, SOUND, None], "no dtype and tensor"),
        ([RECORDS, SOUND, msgpack.ExtType(6, b"|V16\0a")], "no dtype and tensor"),
        ([RECORDS, SOUND, msgpack.ExtType(2, b"a")], "no dtype and tensor"),
        ([RECORDS, SOUND, msgpack.ExtType(1, b"a")], "names a tensor 'a' that the frame does not"),
        ([msgpack.ExtType(68, b""), [RECORD, SOUND, bytes(16), True]], "a member that is none"),
    ],
)
def test_records_in_an_envelope_that_make_no_sense_are_refused(body: object, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        decode(with_body(body))


def test_records_as_keys_that_cannot_be_compared_are_refused() -> None:
    one, other = ([4, False, False, [name, 0, [], "I32"]] for name in "ab")
    members = [[RECORD, description, bytes(4), False] for description in (one, other)]
    for code in (68, 69):
        with pytest.raises(FrameError, match="a set with a member too many: Cannot compare"):
            decode(with_body([msgpack.ExtType(code, b""), *members]))
    with pytest.raises(FrameError, match="a dict with a key too many: Cannot compare"):
        decode(with_body([msgpack.ExtType(65, b""), members[0], 1, members[1], 2]))


@pytest.mark.parametrize("dtype", ["U8", "F32"])
def test_a_tensor_that_does_not_have_the_size_of_its_records_is_refused(dtype: str) -> None:
    frame = encode({"w": np.zeros(2, [("a", "i4"), ("b", "i4")])}).to_bytes()
    damaged = frame.replace(
        b'"dtype":"U8","shape":[2,8]', f'"dtype":"{dtype}","shape":[4,4]'.encode()
    )
    with pytest.raises(FrameError):
        decode(damaged)


def test_values_in_the_fields_of_an_array_are_looked_at() -> None:
    array = np.zeros((2, 2), [("x", "i1"), ("in", [("flag", "?"), ("text", ">U2", (2,))], (3,))])
    frame = bytearray(encode([array]).to_bytes())
    frame[-1] = 9  # the last character is another one
    assert decode(frame).body[0]["in"]["text"].ravel()[-1] == "\0\x09"
    for at, message in [(-4, r"\['in'\]\['text'\].* no text"), (-17, r"\['flag'\].* dtype BOOL")]:
        damaged = frame.copy()
        damaged[at] = 9
        with pytest.raises(FrameError, match=message):
            decode(damaged)


FEWER = Limits(items=30_000)
HONEST_BYTES = 96 * 1024 * 1024 * FEWER.items // Limits().items
"""What it takes to read a frame with so many values that are tensors."""


def memory_to_read(frame: bytes) -> int:
    tracemalloc.start()
    try:
        assert decode(frame, limits=FEWER).body is not None
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_as_many_fields_as_are_taken_cost_no_more_than_an_honest_frame() -> None:
    count = (FEWER.items - 20) // 5
    fields = [[f"{n}", n, [], "I8"] for n in range(count)]
    frame = with_body([RECORD, [count, False, False, *fields], bytes(count), True])
    assert memory_to_read(frame) < HONEST_BYTES


def test_as_many_records_as_are_taken_cost_no_more_than_an_honest_frame() -> None:
    record = [RECORD, [1, False, False, ["a", 0, [], "I8"]], b"a", True]
    frame = with_body([record] * ((FEWER.items - 5) // 13))
    assert memory_to_read(frame) < HONEST_BYTES
