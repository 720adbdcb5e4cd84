"""Bytes from anyone: every damage is a FrameError or a sound body, and never a large allocation."""

from __future__ import annotations

import base64
import contextlib
import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federant.codec import (
    FrameError,
    JaxArray,
    Limits,
    TorchArray,
    decode,
    encode,
    header_size,
    read_layout,
)
from federant.exchange import DXO, DataKind

VALID = encode(
    DXO(
        DataKind.WEIGHTS,
        {
            "w": np.arange(16, dtype="f4"),
            "mask": np.array([True, False]),
            "text": "é" * 3000,
            "raw": b"x" * 5000,
            "more": [1, (2.5, None), {(1, 2): 2**70, "k": np.float32(1)}],
            "sets": [{1, "a", (2,)}, frozenset({b"b"})],
            "times": [datetime(2026, 1, 2, 3, 4, 5, 6, UTC), date(1, 1, 1), timedelta(-1)],
            "numpy": [np.datetime64(3, "25s"), np.longdouble(1), np.str_("é"), np.void(b"ab")],
            "odd": [np.zeros(2, "M8[s]"), np.array(["é"]), np.zeros(1, ">f4"), np.zeros(1, "G")],
            "small": np.ones(3, ml_dtypes.float8_e4m3fn),
            "torch": np.ones(2, ml_dtypes.bfloat16).view(TorchArray),
            "jax": np.ones(2, "c16").view(JaxArray),
            "records": np.zeros(2, [("a", "?"), ("b", [("c", ">f4", (2,))])]),
            "record": np.zeros(1, [(("title", "a"), "<U2")]).view(np.recarray)[0],
        },
    ).to_shareable(),
    envelope={"topic": "train"},
).to_bytes()
HEADER = header_size(VALID[:8])
LARGEST = Limits().header_bytes - 100
HONEST_BYTES = 96 * 1024 * 1024
"""What it takes to read a frame with as many tensors as may be, with names of 75 characters."""


@contextlib.contextmanager
def little_memory(most: int = 4 * 1024 * 1024) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak} bytes were allocated"


def frame_of(
    tensors: dict[str, Any] | None = None,
    data: bytes = b"",
    packed: object = None,
    raw: bytes | None = None,
) -> bytes:
    """A frame with whatever is asked for in it."""
    if raw is None:
        raw = msgpack.packb([1, {}, None] if packed is None else packed)
    metadata = {"federant": base64.b64encode(raw).decode()}
    text = json.dumps({"__metadata__": metadata, **(tensors or {})}).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin: object, end: object, shape: object = None, dtype: object = "U8") -> dict[str, Any]:
    shape = [end - begin] if shape is None else shape  # type: ignore[operator]
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def ref(name: str, code: int = 1) -> msgpack.ExtType:
    return msgpack.ExtType(code, name.encode())


def test_the_frames_made_here_are_valid() -> None:
    assert decode(frame_of()).body is None
    found = decode(frame_of({"a": entry(0, 3)}, b"abc", [1, {}, ref("a")]))
    assert found.body.tobytes() == b"abc"


def test_every_truncation_is_refused() -> None:
    for length in [*range(HEADER + 70), *range(HEADER + 70, len(VALID), 97)]:
        with pytest.raises(FrameError):
            decode(VALID[:length])


def test_bytes_behind_the_frame_are_refused() -> None:
    with pytest.raises(FrameError, match="bytes, there are"):
        decode(VALID + b"\0")


def test_every_flipped_bit_of_the_header_is_refused_or_gives_a_sound_body() -> None:
    for index in range(HEADER):
        for bit in range(0, 8, 3):
            damaged = bytearray(VALID)
            damaged[index] ^= 1 << bit
            try:
                decode(damaged)
            except FrameError:
                continue


@settings(max_examples=300)
@given(st.data())
def test_mutated_frames_are_refused_or_sound(data: st.DataObject) -> None:
    damaged = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, HEADER))
        stop = data.draw(st.integers(start, min(start + 8, len(damaged))))
        damaged[start:stop] = data.draw(st.binary(max_size=8))
    try:
        decode(damaged)
    except FrameError:
        return


@settings(max_examples=300)
@given(st.data())
def test_what_is_read_from_a_mutated_envelope_can_travel_again(data: st.DataObject) -> None:
    header = json.loads(VALID[8:HEADER])
    packed = bytearray(base64.b64decode(header["__metadata__"]["federant"]))
    start = data.draw(st.integers(0, len(packed)))
    stop = data.draw(st.integers(start, min(start + 5, len(packed))))
    packed[start:stop] = data.draw(st.binary(max_size=5))
    del header["__metadata__"]
    try:
        body = decode(frame_of(header, VALID[HEADER:], raw=bytes(packed))).body
    except FrameError:
        return
    encode(body)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_an_envelope_of_any_bytes_is_refused_or_sound(raw: bytes) -> None:
    for packed in (raw, b"\x93\x01\x80" + raw):
        try:
            decode(frame_of(raw=packed))
        except FrameError:
            continue


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode(data)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**40, 33 * 1024 * 1024])
def test_a_header_that_claims_to_be_huge_is_refused_before_it_is_read(length: int) -> None:
    first = length.to_bytes(8, "little")
    with little_memory(), pytest.raises(FrameError, match=f"header of {length} bytes"):
        header_size(first)
    with little_memory(), pytest.raises(FrameError, match=f"header of {length} bytes"):
        decode(first + b"{}")


def test_a_head_that_is_shorter_than_its_header_is_refused() -> None:
    with pytest.raises(FrameError, match="are at hand"):
        read_layout(VALID[: HEADER - 1], len(VALID))
    with pytest.raises(FrameError, match="at least 8 bytes"):
        header_size(b"123")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": entry(0, 3), "b": entry(2, 5)}, "neither overlap nor leave gaps"),
        ({"a": entry(0, 3), "b": entry(0, 3)}, "neither overlap nor leave gaps"),
        ({"a": entry(0, 2), "b": entry(3, 5)}, "neither overlap nor leave gaps"),
        ({"a": entry(1, 5)}, "neither overlap nor leave gaps"),
        ({"a": entry(0, 4)}, "bytes, there are"),
        ({"a": entry(0, 10**15)}, "bytes, there are"),
        ({"a": entry(5, 0, [5])}, "does not take -5 bytes"),
        ({"a": entry(-5, 0, [5])}, "-5 where a number from 0 up must stand"),
        ({"a": entry(0, 5, [-5])}, "-5 where a number"),
        ({"a": entry(0, 5, [5.0])}, "5.0 where a number"),
        ({"a": entry(0, 5, [True, 5])}, "True where a number"),
        ({"a": entry(0, 5, [6])}, "does not take 5 bytes"),
        ({"a": entry(0, 5, [5], "F32")}, "does not take 5 bytes"),
        ({"a": entry(0, 5, [5], "BF17")}, "dtype 'BF17', known are BOOL"),
        ({"a": entry(0, 5, [5], 3)}, "needs a dtype, a shape"),
        ({"a": entry(0, 5, 5)}, "needs a dtype, a shape"),
        ({"a": {"dtype": "U8", "shape": [5]}}, "needs a dtype, a shape"),
        ({"a": {"dtype": "U8", "shape": [5], "data_offsets": [0]}}, "needs a dtype, a shape"),
        ({"a": 3}, "needs a dtype, a shape"),
        ({"a": entry(0, 0, [2**62, 2**62, 0])}, "larger than numpy can count"),
        ({"a": entry(0, 0, [2**70, 0])}, "larger than numpy can count"),
        ({"a": entry(0, 5, [1] * 33 + [5])}, "34 dimensions"),
        ({"a": entry(0, 5, [2**64] * 32)}, "larger than numpy can count"),
    ],
)
def test_tensors_that_lie_wrong_are_refused(tensors: dict[str, Any], message: str) -> None:
    with little_memory(), pytest.raises(FrameError, match=message):
        decode(frame_of(tensors, b"abcde", [1, {}, [ref(name) for name in tensors]]))


def test_the_largest_empty_shape_that_passes_gives_an_array() -> None:
    shape = [2**40, 2**18, 0]
    with little_memory():
        try:
            body = decode(frame_of({"a": entry(0, 0, shape, "F64")}, b"", [1, {}, ref("a")])).body
        except FrameError:
            return
    assert body.size == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[]", "no JSON object"),
        (b"{", "no JSON"),
        (b"[" * 60_000, "no JSON"),
        (b"[" * 400_000, "more parts than its 0 tensors"),
        (b'{"a":1,"a":2}', "names a key twice"),
        (b'{"__metadata__":[]}', "must map strings to strings"),
        (b'{"__metadata__":{"federant":3}}', "must map strings to strings"),
        (b'{"__metadata__":{"federant":"%%"}}', "no base64"),
        (b'{"__metadata__":{"federant":"\xc3\xa9"}}', "no base64"),
        (b'{"__metadata__":{"federant":""}}', "no msgpack"),
        (b'{"a":"\xff"}', "no JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "no JSON"),
        (b"{" + b'"":{},' * 10_000 + b"}", "no JSON|twice"),
        (b'{"a":[' + b'"data_offsets",' * 65_537 + b"1]}", "more than 65536 tensors"),
        (b'{"__metadata__":{' + b'"":"",' * 64 + b'"a":""}}', "names a key twice"),
    ],
)
def test_a_header_that_is_no_sound_json_is_refused(text: bytes, message: str) -> None:
    # Sixty thousand brackets still go to the parser.
    with little_memory(16 * 1024 * 1024), pytest.raises(FrameError, match=message):
        decode(len(text).to_bytes(8, "little") + text)


def test_metadata_with_many_keys_is_refused() -> None:
    text = json.dumps({"__metadata__": {str(number): "" for number in range(257)}}).encode()
    with pytest.raises(FrameError, match=r"__metadata__ .* has 257 keys, at most 256 are taken"):
        decode(len(text).to_bytes(8, "little") + text)


@pytest.mark.parametrize(
    "part",
    [b"[],[],", b'{"a":{}},', b'"abc":"",', b"1000,", b'"data_offsets",'],
    ids=["lists", "dicts", "keys", "numbers", "claims"],
)
@pytest.mark.parametrize("start", [b'{"a":[', b'{"__metadata__":{'], ids=["tensor", "metadata"])
def test_a_header_of_very_many_parts_is_refused_before_it_is_parsed(
    start: bytes, part: bytes
) -> None:
    text = start + part * (LARGEST // len(part))
    frame = len(text).to_bytes(8, "little") + text
    with little_memory(len(frame) * 5 // 4), pytest.raises(FrameError, match="more"):
        decode(frame)


@pytest.mark.parametrize(
    "part",
    [b"[],", b"{},", b'"abc",', b"1000,", b'{"abc":1},'],
    ids=["lists", "dicts", "strings", "numbers", "keys"],
)
def test_a_header_of_as_many_parts_as_are_taken_costs_no_more_than_an_honest_one(
    part: bytes,
) -> None:
    # Each claim of a tensor pays for so many parts and quotation marks.
    parts = min(14 // (part.count(b",") + part.count(b"{") + part.count(b"[")), 5)
    text = b'{"a":[' + (b'"data_offsets",' + part * parts) * 65_536 + b"1]}"
    with little_memory(HONEST_BYTES), pytest.raises(FrameError, match="needs a dtype"):
        decode(len(text).to_bytes(8, "little") + text)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "no msgpack: No more data"),
        (b"\xdd\xff\xff\xff\xff", "no msgpack"),
        (b"\xdf\xff\xff\xff\xff", "no msgpack"),
        (b"\xc6\xff\xff\xff\xff", "no msgpack"),
        (b"\xc9\xff\xff\xff\xff\x01", "no msgpack"),
        (b"\xdd\x00\x00\x03\xe0" * 200, "no msgpack"),
        (b"\x91" * 5000, "no msgpack"),
        (b"\x91" * 200_000 + b"\xc0", "no msgpack"),
        (b"\x91" * 1_000_000 + b"\xc0", "more than 300000 values"),
        (b"\xdd" + (200_000).to_bytes(4, "big") + b"\xa3abc" * 199_999, "no msgpack: No more"),
        (b"\xc0\xc0", "no msgpack"),
        (b"\xa2\xff\xff", "no msgpack"),
        (b"\x81\x90\xc0", "no msgpack"),
        (b"\xc1", "no msgpack"),
        (b"\xc0", "no list of version, entries and body"),
        (b"\x92\x01\x80", "no list of version, entries and body"),
        (b"\x93\x01\xc0\xc0", "no list of version, entries and body"),
        (b"\x93\x02\x80\xc0", "version 2, version 1 is known here: update federant"),
        (b"\x94\x07\x80\xc0\xc0", "version 7"),
    ],
)
def test_an_envelope_that_is_no_sound_msgpack_is_refused(raw: bytes, message: str) -> None:
    with little_memory(16 * 1024 * 1024), pytest.raises(FrameError, match=message):
        decode(frame_of(raw=raw))


def nested(depth: int) -> object:
    body: object = None
    for _ in range(depth):
        body = [body]
    return body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (nested(65), "nests deeper than 64 levels"),
        (nested(500), "nests deeper than 64 levels"),
        (msgpack.ExtType(99, b""), "unknown extension code 99: it may come from a newer version"),
        (msgpack.Timestamp(1), "a Timestamp where a value must stand"),
        (msgpack.ExtType(64, b""), "a Mark where a value must stand"),
        ([1, msgpack.ExtType(64, b"")], "a Mark where a value must stand"),
        ({msgpack.ExtType(64, b""): 1}, "no msgpack: Mark is not allowed for map key"),
        ({1: 1}, "no msgpack: int is not allowed for map key"),
        ([msgpack.ExtType(65, b""), 1], "a key that lacks its value"),
        ([msgpack.ExtType(65, b""), [1], 1], "a key that is none"),
        ([msgpack.ExtType(66, b"")], "a Shareable has one part"),
        ([msgpack.ExtType(66, b""), 3], "a int where a dict must stand"),
        ([msgpack.ExtType(66, b""), {"__headers__": [1]}], "whose headers are no dict"),
        ([msgpack.ExtType(67, b""), "WEIGHTS", {}], "a DXO has three parts"),
        ([msgpack.ExtType(67, b""), "WEIGHTS", [], {}], "no valid DXO: invalid DXO: data must be"),
        ([msgpack.ExtType(67, b""), 3, {}, {}], "no valid DXO: invalid DXO: data_kind must be"),
        (msgpack.ExtType(33, b"os.system"), "unknown enum member b'os.system'"),
        (msgpack.ExtType(34, b"F32:123"), "malformed numpy scalar of dtype float32 and 3 bytes"),
        (msgpack.ExtType(34, b"<U1:\xff\xff\xff\xff"), "malformed numpy scalar of dtype <U1"),
        (msgpack.ExtType(34, b"|V999999999:a"), "malformed numpy scalar"),
        (msgpack.ExtType(34, b"<f16m112:" + bytes(16)), "this machine does not have: send them as"),
        (msgpack.ExtType(36, bytes(15)), "a complex number takes 16 bytes, the envelope has 15"),
        (msgpack.ExtType(37, b""), "malformed datetime"),
        (
            msgpack.ExtType(37, b"\xff\xff\x01\x01" + bytes(8)),
            "datetime: year 65535 is out of",
        ),
        (msgpack.ExtType(37, b"\xea\x07\x02\x1e" + bytes(8)), "malformed datetime: day"),
        (msgpack.ExtType(37, b"\xea\x07\x01\x01\x18" + bytes(7)), "malformed datetime: hour must"),
        (msgpack.ExtType(37, b"\xea\x07\x01\x01" + bytes(9)), "malformed datetime: unpack"),
        (msgpack.ExtType(37, b"\xea\x07\x01\x01" + bytes(7) + b"\2"), "datetime: fold must be"),
        (msgpack.ExtType(37, b"\xea\x07\1\1" + bytes(8) + b"\x01" + bytes(11)), "strictly between"),
        (msgpack.ExtType(37, b"\xea\x07\1\1" + bytes(20) + b"\xff"), "malformed datetime: 'utf-8'"),
        (msgpack.ExtType(38, bytes(4)), "malformed date: year 0 is out of range"),
        (msgpack.ExtType(38, bytes(5)), "malformed date: unpack requires"),
        (msgpack.ExtType(39, b"\x18" + bytes(7)), "malformed time: hour must be in 0..23"),
        (
            msgpack.ExtType(40, b"\xff\xff\xff\x7f" + bytes(8)),
            "malformed timedelta: days=2147",
        ),
        (msgpack.ExtType(40, bytes(4) + b"\x80\x51\x01" + bytes(5)), "86400 seconds and 0 micro"),
        (msgpack.ExtType(41, b"\xff"), "a text in the frame is no UTF-8"),
        ([msgpack.ExtType(68, b""), [1]], "a set with a member that is none: unhashable type"),
        ([msgpack.ExtType(69, b""), {}], "a set with a member that is none: unhashable type"),
        (msgpack.ExtType(68, b""), "a Mark where a value must stand"),
        (ref("F32\0a", 6), "tensor 'a' has a dtype 'F32' that it cannot have"),
        (ref("<M8[s]\0a", 8), "tensor 'a' has a dtype '<M8\\[s\\]' that it cannot have"),
        (ref("<U3\0a", 10), "tensor 'a' has a dtype '<U3' that it cannot have"),
        (ref("<c16", 6), "names a tensor '' that the frame does not have"),
        (msgpack.ExtType(34, b"O:1234"), "unknown dtype 'O'"),
        (msgpack.ExtType(1, b"\xff"), "no msgpack"),
        (ref("a"), "names a tensor 'a' that the frame does not have"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(body: object, message: str) -> None:
    with little_memory(), pytest.raises(FrameError, match=message):
        decode(frame_of(packed=[1, {}, body]))


def test_a_tensor_is_used_exactly_once() -> None:
    tensors = {"a": entry(0, 5)}
    with pytest.raises(FrameError, match="or names it twice"):
        decode(frame_of(tensors, b"abcde", [1, {}, [ref("a", 3)] * 1000]))
    with pytest.raises(FrameError, match="does not name the frame's tensor 'a'"):
        decode(frame_of(tensors, b"abcde", [1, {}, None]))
    with pytest.raises(FrameError, match="envelope names a tensor 'a'"):
        decode(frame_of(tensors, b"abcde", [1, {"x": ref("a")}, None]))


def test_text_in_a_tensor_must_be_bytes_and_utf8() -> None:
    with pytest.raises(FrameError, match="no UTF-8"):
        decode(frame_of({"a": entry(0, 2)}, b"\xff\xff", [1, {}, ref("a", 2)]))
    with pytest.raises(FrameError, match="one dimension"):
        decode(frame_of({"a": entry(0, 4, [1], "F32")}, b"abcd", [1, {}, ref("a", 3)]))


def test_a_truth_value_is_0_or_1() -> None:
    with pytest.raises(FrameError, match="BOOL and bytes other than 0 and 1"):
        decode(frame_of({"a": entry(0, 2, None, "BOOL")}, b"\x01\x02", [1, {}, ref("a")]))


@pytest.mark.parametrize(
    "dtype",
    [
        "O",
        "<f4",
        "f4,f4",
        "(2,)f4",
        "<M8[s/2]",
        "<M8[0s]",
        "<M8[9999999999s]",
        "<M8[generic]",
        "|S0",
        "|S",
        "<U0",
        "<U99999999999",
        "|V-1",
        "[('a', '<f4')]",
        "__import__('os').system('true')",
        "float128",
        "int4",
        "<c16 ",
        "<c16\n",
    ],
)
def test_a_dtype_that_is_not_in_the_grammar_is_refused(dtype: str) -> None:
    frame = frame_of({"a": entry(0, 8)}, bytes(8), [1, {}, ref(f"{dtype}\0a", 6)])
    with little_memory(), pytest.raises(FrameError, match=r"(unknown|impossible) dtype"):
        decode(frame)


@pytest.mark.parametrize(
    ("dtype", "tensor"),
    [
        ("<c16", entry(0, 8)),
        ("<c16", entry(0, 8, [], "F64")),
        ("<c16", entry(0, 8, [1, 8])),
        ("<M8[s]", entry(0, 8, [1], "I64")),
        ("|S999999999", entry(0, 8, [1, 8])),
        ("float8_e3m4", entry(0, 8, [8])),
    ],
)
def test_a_tensor_that_does_not_have_the_size_of_its_dtype_is_refused(
    dtype: str, tensor: dict[str, Any]
) -> None:
    frame = frame_of({"a": tensor}, bytes(8), [1, {}, ref(f"{dtype}\0a", 6)])
    with little_memory(), pytest.raises(FrameError, match="holds no array of dtype"):
        decode(frame)


def test_text_in_an_array_is_unicode() -> None:
    for dtype, data in [("<U1", b"\0\0\x11\0"), (">U2", b"\0\0\0a\xff\xff\xff\xff")]:
        tensor = entry(0, len(data), [1, len(data)])
        with pytest.raises(FrameError, match="bytes that are no text"):
            decode(frame_of({"a": tensor}, data, [1, {}, ref(f"{dtype}\0a", 6)]))


def test_a_time_that_is_none_is_a_value_like_any_other() -> None:
    frame = frame_of({"a": entry(0, 8, [8])}, bytes(7) + b"\x80", [1, {}, ref("<M8[ns]\0a", 6)])
    assert np.isnat(decode(frame).body)


DENSE = {
    "nils": (1, b"\xc0"),
    "ints": (1, b"\xcd\x7f\xff"),
    "floats": (1, b"\xcb" + b"\x3f" * 8),
    "strings": (1, b"\xa3abc"),
    "bytes": (1, b"\xc4\x01a"),
    "references": (1, b"\xd4\x01a"),
    "big ints": (1, b"\xd8\x20" + b"\x7f" * 16),
    "enums": (1, b"\xc7\x10\x21DataKind.WEIGHTS"),
    "scalars": (1, b"\xc7\x04\x22U8:a"),
    "bytearrays": (1, b"\xd4\x23a"),
    "marks": (1, b"\xd4\x40a"),
    "lists": (1, b"\x90"),
    "dicts": (1, b"\x80"),
    "dicts of dicts": (3, b"\x81\xa1a\x80"),
    "tuples": (2, b"\x91\xd4\x40a"),
    "pairs": (4, b"\x93\xd4\x41a\x01\xc0"),
    "sets": (2, b"\x91\xd4\x44a"),
    "dates": (1, b"\xd6\x26\xea\x07\x01\x01"),
    "long doubles": (1, b"\xc7\x18\x22<f16m63:" + bytes(16)),
    "typed references": (1, b"\xd6\x06<c16"),
    "Shareables": (3, b"\x92\xd4\x42a\x80"),
}
"""How many values it is, and its bytes."""


def envelope_of(count: int, value: bytes) -> bytes:
    """A frame whose body is a list of so many of the value, which is written as it is."""
    raw = b"\x93\x01\x80\xdd" + count.to_bytes(4, "big") + value * count
    text = b'{"__metadata__":{"federant":"' + base64.b64encode(raw) + b'"}}'
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize("kind", DENSE)
def test_very_many_values_are_refused_before_one_of_them_is_made(kind: str) -> None:
    _, value = DENSE[kind]
    frame = envelope_of(LARGEST * 3 // 4 // len(value), value)
    with little_memory(3 * len(frame)), pytest.raises(FrameError, match="more than 300000 values"):
        decode(frame)


def test_values_that_hide_in_nested_lists_are_counted_too() -> None:
    def lists(length: int, depth: int) -> bytes:
        start = b"\xdd" + length.to_bytes(4, "big") + b"\xa3abc" * (length - 1)
        return start * depth + b"\xc0"

    for length, depth in [(10_000, 4), (500, 61), (29_995, 2)]:
        frame = envelope_of(1, lists(length, depth))
        with little_memory(4 * len(frame)), pytest.raises(FrameError, match="more than 30000 "):
            decode(frame, limits=Limits(items=30_000))


@pytest.mark.parametrize(
    "kind",
    ["references", "bytearrays", "dicts", "dicts of dicts", "pairs", "Shareables", "sets"],
)
def test_as_many_values_as_are_taken_cost_no_more_than_an_honest_frame(kind: str) -> None:
    values, value = DENSE[kind]
    fewer = Limits(items=Limits().items // 10)
    frame = envelope_of((fewer.items - 5) // values, value)
    with little_memory(HONEST_BYTES // 10), contextlib.suppress(FrameError):
        decode(frame, limits=fewer)


def test_a_frame_with_as_many_tensors_as_may_be_and_long_names_is_taken() -> None:
    array = np.ones(1, "f4")
    names = [f"model.layers.{n}.mlp.experts.{n}.down_proj.".ljust(73, "x") for n in range(65_536)]
    frame = encode({name: {"w": array} for name in names}).to_bytes()
    assert list(decode(frame).body) == names


def test_keys_chosen_to_share_a_hash_are_refused() -> None:
    modulus = 2**61 - 1
    body = {key * modulus: None for key in range(1, 300)}
    with pytest.raises(FrameError, match="very many keys of the same hash"):
        decode(encode(body).to_bytes())


def test_members_chosen_to_share_a_hash_are_refused() -> None:
    body = {key * (2**61 - 1) for key in range(1, 300)}
    with pytest.raises(FrameError, match="a set with very many members of the same hash"):
        decode(encode(body).to_bytes())


def test_limits_are_the_readers_own() -> None:
    frame = encode([[1], np.ones(1), np.ones(1)]).to_bytes()
    with pytest.raises(FrameError, match="deeper than 1 levels"):
        decode(frame, limits=Limits(depth=1))
    with pytest.raises(FrameError, match="2 tensors, at most 1 are taken"):
        decode(frame, limits=Limits(tensors=1))
    with pytest.raises(FrameError, match="at most 10 are taken"):
        decode(frame, limits=Limits(header_bytes=10))
