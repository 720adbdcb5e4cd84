"""FOBS files that somebody made to harm: each is a FrameError, soon, and nothing else happens."""

from __future__ import annotations

import itertools
import struct
import uuid
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from federant.codec import FrameError, fobs
from federant.codec.limits import Limits

GOOD = b"".join(fobs.dump({"w": np.arange(30_000, dtype=np.float32), "t": (1, "x")}))


def file(value: object, *datums: tuple[int, int, bytes]) -> bytes:
    """A file whose main section is that value, as plain msgpack; then (marker, dot, data)."""
    main = value if isinstance(value, bytes) else msgpack.packb(value)
    parts = [struct.pack(">BBQ", 100, 0, len(main)), main]
    for marker, dot, data in datums:
        parts += [struct.pack(">BBQ", marker, dot, 16 + len(data)), uuid.UUID(int=1).bytes, data]
    return b"".join(parts)


def named(kind: object, data: object) -> dict[str, object]:
    return {"__fobs_type__": kind, "__fobs_data__": data, "__fobs_dc__": "os.system"}


def array(content: object) -> dict[str, object]:
    return named("numpy.ndarray", {"type": "native", "data": content})


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(text)) + text + data


REF = named(
    "nvflare.fuel.utils.fobs.datum.DatumRef",
    {"data": {"datum_id": str(uuid.UUID(int=1)), "unwrap": True}},
)
ONE_FLOAT = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}"
SAME_HASH = [
    named("tuple", [one * (2**61 - 1), other * (2**61 - 1), third * (2**61 - 1)])
    for one, other, third in itertools.product(range(1, 8), repeat=3)
]
DEEP: Any = None
for _ in range(200):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"d", "ends within the header"),
        (GOOD[:-1], "claims"),
        (GOOD + b"\0", "ends within the header"),
        (struct.pack(">BBQ", 100, 0, 2**63) + b"x", "claims 9223372036854775808 bytes"),
        (struct.pack(">BBQ", 100, 0, 0), "claims 0 bytes"),
        (struct.pack(">BBQ", 101, 0, 1) + b"x", "marks no main section"),
        (file(None, (103, 0, b"x")), "is marked 103"),
        (file(None, (102, 3, b"x")), "is to be fetched from elsewhere"),
        (file(None, (102, 0, b"")), "has no data"),
        (file(REF, (101, 0, b"\xff")), "is no text"),
        (file(REF), "which is not there"),
        (file([REF, REF], (102, 0, b"large")), "is another's"),
        (file([array(REF), REF], (102, 0, npy(ONE_FLOAT, b"four"))), "is another's"),
        (file(b"\xc1"), "is no msgpack"),
        (file(b"\xdd\xff\xff\xff\xff"), "is no msgpack"),
        (file(b"\x92\x01"), "is no msgpack"),
        (file(b"\xdd\x00\x04\x00\x00" * 100), "is no msgpack"),
        (file(msgpack.packb(msgpack.ExtType(5, b"x"))), "is no msgpack|has no place here"),
        (file(DEEP), "nests deeper than 64 levels"),
        (file(named("set", SAME_HASH)), "of the same hash"),
        (file(named("collections.OrderedDict", [[key, 0] for key in SAME_HASH])), "same hash"),
        (file(named("os.system", "true")), "of type 'os.system', which is not known"),
        (file(named("builtins.eval", "1")), "which is not known"),
        (file(named("nvflare.apis.fl_context.FLContext", [])), "which is not known"),
        (file(named(7, [])), "has no name"),
        (file({"__fobs_type__": "tuple"}), "not one part of data"),
        (file(named("tuple", 5)), "where a list must stand"),
        (file(named("set", [[1]])), "a member that is none"),
        (file(named("nvflare.apis.shareable.Shareable", [1])), "where a dict must stand"),
        (
            file(named("nvflare.apis.shareable.Shareable", {"__headers__": 3})),
            "headers that are no dict",
        ),
        (file(named("nvflare.apis.dxo.DXO", [1])), "is not kind, meta and data"),
        (file(named("nvflare.apis.dxo.DXO", ["WEIGHTS", {}, [1]])), "cannot be made"),
        (file(named("nvflare.apis.dxo.DataKind", "NONE")), "cannot be made"),
        (file(named("datetime.datetime", "yesterday")), "cannot be made"),
        (file(named("collections.OrderedDict", [1])), "no list of pairs"),
        (file(named("numpy.float32", "1")), "is made of a str"),
        (file(named("numpy.ndarray", {"type": "ref", "data": "T0"})), "to be fetched from else"),
        (file(array(7)), "lies in a int"),
        (file(array(b"")), "is no .npy file"),
        (
            file(array(npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"x" * 8))),
            "ob",
        ),
        (file(array(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9,)}", b"x"))), "take"),
        (
            file(array(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"))),
            "an array",
        ),
        (
            file(array(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2**70,)}"))),
            "an array",
        ),
        (
            file(array(npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**70}, 0)}}"))),
            "an array",
        ),
        (file(array(npy("__import__('os')"))), "is no .npy file"),
        (file(array(npy("(" * 5000))), "is no .npy file"),
        (file(array(npy("{}", version=3))), "is no .npy file"),
    ],
)
def test_a_hostile_file_is_refused_with_a_reason(content: bytes, said: str) -> None:
    with pytest.raises(FrameError, match=said):
        fobs.load(content)


def test_more_values_than_allowed_are_refused() -> None:
    content = b"".join(fobs.dump([0] * 1000))
    with pytest.raises(FrameError, match="more than 500"):
        fobs.load(content, limits=Limits(items=500))


@given(st.binary(max_size=300))
@example(GOOD[:60])
def test_any_bytes_are_a_value_or_a_frame_error(content: bytes) -> None:
    for whole in (content, file(content) if content else b""):
        try:
            fobs.load(whole)
        except FrameError:
            continue


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_is_a_value_or_a_frame_error(at: int, byte: int) -> None:
    changed = bytearray(GOOD)
    changed[at] = byte
    try:
        fobs.load(changed)
    except FrameError:
        return
