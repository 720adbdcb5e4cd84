"""Records in bytes from anyone: refused by name, or sound, and never dearer than honest ones."""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federant.codec import FrameError, Limits, decode, encode

RECORDS, RECARRAY, RECORD = (msgpack.ExtType(code, b"") for code in (70, 71, 72))
SOUND = [16, False, False, ["a", 0, [], "F32"], ["b", 4, [3], "BOOL"], ["c", 8, [], "<U1"]]


def frame_of_record(description: object, raw: object = bytes(16), writeable: object = True) -> Any:
    """A frame whose body is one record with whatever is asked for in it."""
    return decode(with_body([RECORD, description, raw, writeable]))


def with_body(body: object) -> bytes:
    packed = base64.b64encode(msgpack.packb([1, {}, body])).decode()
    text = json.dumps({"__metadata__": {"federant": packed}}).encode()
    return len(text).to_bytes(8, "little") + text


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
