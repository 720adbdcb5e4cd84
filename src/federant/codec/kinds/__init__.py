"""Which kinds of value travel, and what each becomes: the one table of the codec.

A new kind is a small file beside this one, a code in `codes`, and its lines here.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from federant.codec.errors import FrameError
from federant.codec.kinds import arrays, codes, containers, enums, integers, text
from federant.codec.reader import Build, Mark, Reference
from federant.codec.writer import Write
from federant.exchange import DXO, Shareable

WRITES: dict[type, Write] = {
    str: text.write_str,
    np.str_: text.write_str,
    bytes: text.write_bytes,
    np.bytes_: text.write_bytes,
    bytearray: text.write_bytearray,
    dict: containers.write_dict,
    OrderedDict: containers.write_dict,
    defaultdict: containers.write_dict,
    list: containers.write_list,
    tuple: containers.write_tuple,
    Shareable: containers.write_shareable,
    DXO: containers.write_dxo,
    np.ndarray: arrays.write_array,
    np.memmap: arrays.write_array,
    np.generic: arrays.write_scalar,
    **dict.fromkeys(enums.ENUM_TYPES, enums.write_enum),
}

BASES: tuple[type, ...] = (Shareable, DXO, np.generic)
"""Types whose subclasses travel as these."""

DROPPED_FROM_NAMES = containers.DROPPED_FROM_NAMES

LEAF_TYPES: frozenset[type] = frozenset({*arrays.SCALAR_TYPES, *enums.ENUM_TYPES, bytearray})
"""What `read_extension` may give that is a value as it stands and that msgpack does not have."""

BUILDS: dict[int, Build] = {
    codes.TUPLE: containers.read_tuple,
    codes.PAIRS: containers.read_pairs,
    codes.SHAREABLE: containers.read_shareable,
    codes.DXO: containers.read_dxo,
}

_TENSOR_CODES = frozenset(
    {codes.TENSOR, codes.TEXT_TENSOR, codes.BYTES_TENSOR, codes.BYTEARRAY_TENSOR}
)

_VALUES: dict[int, Callable[[bytes], object]] = {
    codes.BIG_INT: integers.read_big_int,
    codes.ENUM: enums.read_enum,
    codes.NUMPY_SCALAR: arrays.read_scalar,
    codes.BYTEARRAY: bytearray,
}


def pack_other(value: object) -> object:
    """msgpack's hook at the sender; after the walk all that it cannot pack are big integers."""
    return integers.pack_big_int(value)


def read_extension(code: int, payload: bytes) -> object:
    """msgpack's hook at the receiver: the mark, reference or value that an extension stands for."""
    if code in BUILDS:
        return Mark(code)
    if code in _TENSOR_CODES:
        return Reference(code, str(payload, "utf-8"))
    read = _VALUES.get(code)
    if read is None:
        raise FrameError(
            f"the envelope has the unknown extension code {code}: "
            "it may come from a newer version of federant"
        )
    return read(payload)


def read_tensor(code: int, array: np.ndarray[Any, Any]) -> object:
    """What a reference with this code stands for, given its tensor's array."""
    return array if code == codes.TENSOR else text.from_tensor(code, array)
