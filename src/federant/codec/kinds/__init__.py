"""Which kinds of value travel, and what each becomes: the one table of the codec.

A new kind is a small file beside this one, a code in `codes`, and its lines here.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np

from federant.codec.dtypes import is_own_name
from federant.codec.errors import FrameError
from federant.codec.kinds import (
    arrays,
    codes,
    complexes,
    containers,
    enums,
    integers,
    jax_arrays,
    records,
    sets,
    text,
    times,
    torch_tensors,
)
from federant.codec.kinds.jax_arrays import JaxArray
from federant.codec.kinds.torch_tensors import TorchArray
from federant.codec.reader import Build, Mark, Reference
from federant.codec.writer import Write
from federant.exchange import DXO, Shareable

WRITES: dict[type, Write] = {
    str: text.write_str,
    np.str_: text.write_numpy_str,
    bytes: text.write_bytes,
    np.bytes_: text.write_numpy_bytes,
    bytearray: text.write_bytearray,
    dict: containers.write_dict,
    OrderedDict: containers.write_dict,
    defaultdict: containers.write_dict,
    list: containers.write_list,
    tuple: containers.write_tuple,
    set: sets.write_set,
    frozenset: sets.write_set,
    Shareable: containers.write_shareable,
    DXO: containers.write_dxo,
    np.ndarray: arrays.write_array,
    np.memmap: arrays.write_array,
    np.recarray: records.write_recarray,
    TorchArray: torch_tensors.write_torch_array,
    JaxArray: jax_arrays.write_jax_array,
    **dict.fromkeys(arrays.SCALAR_TYPES, arrays.write_scalar),
    np.generic: arrays.write_scalar,
    complex: complexes.write_complex,
    datetime: times.write_datetime,
    date: times.write_date,
    time: times.write_time,
    timedelta: times.write_timedelta,
    **dict.fromkeys(enums.ENUM_TYPES, enums.write_enum),
}

BASES: tuple[type, ...] = (Shareable, DXO, np.generic)
"""Types whose subclasses travel as these."""

DROPPED_FROM_NAMES = containers.DROPPED_FROM_NAMES

LEAF_TYPES: tuple[type, ...] = (
    np.generic,
    *enums.ENUM_TYPES,
    bytearray,
    complex,
    date,  # and datetime, which derives from it
    time,
    timedelta,
)
"""What `read_extension` may give that is a value as it stands and that msgpack does not have."""

BUILDS: dict[int, Build] = {
    codes.TUPLE: containers.read_tuple,
    codes.PAIRS: containers.read_pairs,
    codes.SHAREABLE: containers.read_shareable,
    codes.DXO: containers.read_dxo,
    codes.SET: sets.read_set,
    codes.FROZENSET: sets.read_frozenset,
    codes.RECORDS: records.read_array,
    codes.RECARRAY: records.read_recarray,
    codes.RECORD: records.read_record,
}

ARRAY_CODES = frozenset(
    {
        codes.TENSOR,
        codes.BIG_ENDIAN_TENSOR,
        codes.TYPED_TENSOR,
        codes.TORCH_TENSOR,
        codes.TYPED_TORCH_TENSOR,
        codes.JAX_ARRAY,
        codes.TYPED_JAX_ARRAY,
    }
)
"""The codes of tensors that are arrays; in the others lie text and bytes."""

_TENSOR_CODES = frozenset(
    {
        codes.TENSOR,
        codes.BIG_ENDIAN_TENSOR,
        codes.TORCH_TENSOR,
        codes.JAX_ARRAY,
        codes.TEXT_TENSOR,
        codes.BYTES_TENSOR,
        codes.BYTEARRAY_TENSOR,
        codes.NUMPY_STR_TENSOR,
        codes.NUMPY_BYTES_TENSOR,
    }
)

_OWN_DTYPES: dict[int, Callable[[str], bool]] = {
    codes.TYPED_TENSOR: is_own_name,
    codes.TYPED_TORCH_TENSOR: torch_tensors.OWN_DTYPES.__contains__,
    codes.TYPED_JAX_ARRAY: jax_arrays.OWN_DTYPES.__contains__,
}
"""By the code of a tensor whose reference names a dtype: whether it may be this one."""

_VALUES: dict[int, Callable[[bytes], object]] = {
    codes.BIG_INT: integers.read_big_int,
    codes.ENUM: enums.read_enum,
    codes.NUMPY_SCALAR: arrays.read_scalar,
    codes.NUMPY_STR: text.read_numpy_str,
    codes.NUMPY_BYTES: np.bytes_,
    codes.BYTEARRAY: bytearray,
    codes.COMPLEX: complexes.read_complex,
    codes.DATETIME: times.read_datetime,
    codes.DATE: times.read_date,
    codes.TIME: times.read_time,
    codes.TIMEDELTA: times.read_timedelta,
}


def find_write(value: object) -> Write | None:
    """How a value whose type is in no table is written, None if it cannot travel."""
    for base in BASES:
        if isinstance(value, base):
            return WRITES[base]
    return torch_tensors.find_write(value) or jax_arrays.find_write(value)


def is_framework_array(value: object) -> bool:
    """Whether this is a tensor of torch or an array of jax, or stands for one."""
    if isinstance(value, TorchArray | JaxArray):
        return True
    return bool(torch_tensors.find_write(value) or jax_arrays.find_write(value))


def pack_other(value: object) -> object:
    """msgpack's hook at the sender; after the walk all that it cannot pack are big integers."""
    return integers.pack_big_int(value)


def read_extension(code: int, payload: bytes) -> object:
    """msgpack's hook at the receiver: the mark, reference or value that an extension stands for."""
    if code in BUILDS:
        return Mark(code)
    if code in _TENSOR_CODES:
        return Reference(code, str(payload, "utf-8"))
    may_have = _OWN_DTYPES.get(code)
    if may_have is not None:
        dtype, _, name = str(payload, "utf-8").partition("\0")
        if not may_have(dtype):
            raise FrameError(f"the tensor {name!r} has a dtype {dtype!r} that it cannot have")
        return Reference(code, name, dtype)
    read = _VALUES.get(code)
    if read is None:
        raise FrameError(
            f"the envelope has the unknown extension code {code}: "
            "it may come from a newer version of federant"
        )
    return read(payload)


def read_tensor(code: int, array: np.ndarray[Any, Any], *, own: bool) -> object:
    """What a reference with this code stands for, given its tensor's array.

    `own` says whether a framework that the process has imported may build its own tensor.
    """
    match code:
        case codes.TENSOR | codes.TYPED_TENSOR:
            return array
        case codes.TORCH_TENSOR | codes.TYPED_TORCH_TENSOR:
            return torch_tensors.read_tensor(array, own=own)
        case codes.JAX_ARRAY | codes.TYPED_JAX_ARRAY:
            return jax_arrays.read_array(array, own=own)
        case codes.BIG_ENDIAN_TENSOR:
            return arrays.read_big_endian(array)
        case _:
            return text.from_tensor(code, array)
