"""Arrays of records (dtypes with named fields), and single records; their dtypes are described.

An array's bytes are a U8 tensor as those of any dtype that safetensors lacks; a single record's
bytes stay in the envelope. Bytes between the fields travel as zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgpack import ExtType

from federant.codec import records
from federant.codec.dtypes import TRAVELLING, Form
from federant.codec.errors import FrameError
from federant.codec.kinds import codes
from federant.codec.kinds.padding import without_padding
from federant.codec.kinds.values import check
from federant.codec.reader import Reader, Reference
from federant.codec.writer import Writer

_RECORDS = ExtType(codes.RECORDS, b"")
_RECARRAY = ExtType(codes.RECARRAY, b"")
_RECORD = ExtType(codes.RECORD, b"")


def write_array(writer: Writer, array: np.ndarray[Any, Any]) -> object:
    return _write(writer, array, _RECORDS)


def write_recarray(writer: Writer, array: np.ndarray[Any, Any]) -> object:
    if not records.is_record(array.dtype):
        raise writer.refusal(
            f"it is a recarray of dtype {array.dtype}, without fields; send numpy.asarray(array)"
        )
    return _write(writer, np.asarray(array), _RECARRAY)


def write_record(writer: Writer, value: np.void) -> object:
    description = _description(writer, value.dtype, "record")
    writer.enter(3 + records.count_values(description))
    # An array that one can write to has records that one can write to, which cannot be hashed.
    writeable = bool(value.flags.writeable)
    return [_RECORD, description, without_padding(np.asarray(value)).tobytes(), writeable]


def read_array(reader: Reader, rest: list[Any], _depth: int) -> object:
    return _read(reader, rest)


def read_recarray(reader: Reader, rest: list[Any], _depth: int) -> object:
    found = _read(reader, rest)
    return found.view(np.recarray) if isinstance(found, np.ndarray) else found


def read_record(_reader: Reader, rest: list[Any], _depth: int) -> np.void:
    match rest:
        case [description, bytes(raw), bool(writeable)]:
            dtype = records.read_dtype(description)
        case _:
            raise FrameError("a record in the envelope is no dtype, bytes and whether to write it")
    if len(raw) != dtype.itemsize:
        raise FrameError(f"a record of {dtype.itemsize} bytes in the envelope has {len(raw)} bytes")
    array = np.frombuffer(bytearray(raw) if writeable else raw, dtype)
    check(array, "a record")
    record: np.void = array[0]
    return record


def _write(writer: Writer, array: np.ndarray[Any, Any], mark: ExtType) -> object:
    description = _description(writer, array.dtype, "array of records")
    writer.enter(2 + records.count_values(description))
    raw = np.dtype(f"V{array.itemsize}")
    form = Form(raw.str, True, False, raw, raw)
    written = writer.set_aside(without_padding(array), form)
    name = written.partition(b"\0")[2]
    return [mark, description, ExtType(codes.TENSOR, name)]


def _description(writer: Writer, dtype: np.dtype[Any], what: str) -> list[object]:
    try:
        return records.describe(dtype)
    except FrameError as error:
        raise writer.refusal(
            f"it is a numpy {what}, and {error}; fields of these dtypes travel: {TRAVELLING}, and "
            "records of these: put what is of another into an array or value of its own"
        ) from error


def _read(reader: Reader, rest: list[Any]) -> object:
    match rest:
        case [description, Reference(codes.TENSOR, name, "", None)]:
            dtype = records.read_dtype(description)
            return reader.tensor(Reference(codes.TYPED_TENSOR, name, record=dtype))
        case _:
            raise FrameError("an array of records in the envelope is no dtype and tensor")
