"""Dtypes of records, which have named fields, as lists of plain values and back; no array is here.

A closed grammar in msgpack's own types, so that each of its parts counts as a value of the body:

    record  [itemsize, is_record, aligned, field, ...]
    field   [name, offset, shape, type]  or  [name, offset, shape, type, title]
    type    the name of a scalar's dtype, or a record

`is_record` says whether the dtype is of `numpy.record` (whose fields are attributes), `aligned`
whether it is laid out as C does. A scalar's dtype goes by the name that `dtypes` has for it, with
`>` before one of safetensors' names for the other byte order. numpy is given these lists' parts
only, never a text to make sense of.

Fields may lie over each other, as numpy allows (a colour and its bytes), but not so much that to
look at each of them once is much more work than to look at the bytes.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np

from federant.codec.dtypes import DTYPES, form_of, numpy_dtype
from federant.codec.errors import FrameError
from federant.codec.limits import MAX_RECORD_BYTES, MAX_RECORD_DEPTH, MAX_RECORD_DIMENSIONS

_MOST_OVERLAP: Final = 8
"""How many times the bytes of a record its fields may have in all."""

_HEAD: Final = 3
"""What stands in a record before its fields."""

_OTHER_ORDER: Final = ">"


def is_record(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype has named fields, be it none of them."""
    return dtype.names is not None


def describe(dtype: np.dtype[Any]) -> list[object]:
    """A record's dtype as a list that `read_dtype` takes.

    FrameError, with the way to the field, for one that cannot travel.
    """
    description = _describe(dtype, "")
    read = read_dtype(description)
    if read != dtype or _describe(read, "") != description:
        raise FrameError(f"numpy does not lay its fields out as they are in {dtype}")
    return description


def count_values(description: object) -> int:
    """How many of msgpack's values a description is, with itself."""
    if isinstance(description, list | tuple):
        return 1 + sum(map(count_values, description))
    return 1


def read_dtype(description: object) -> np.dtype[Any]:
    """The dtype of a record; FrameError for a description that is none, of whatever it consists."""
    dtype, covered = _read(description, 0)
    if dtype.itemsize < 1:
        raise FrameError("a record in the frame has no bytes")
    if covered > _MOST_OVERLAP * dtype.itemsize:
        raise FrameError(
            f"the fields of a record in the frame have {covered} bytes in all, the record has "
            f"{dtype.itemsize}: fields may lie over each other up to {_MOST_OVERLAP} times that"
        )
    return dtype


def _describe(dtype: np.dtype[Any], path: str) -> list[object]:
    fields: list[object] = []
    for name in dtype.names or ():
        field, offset, *title = dtype.fields[name]  # type: ignore[index]  # it has names
        base, shape = field.subdtype or (field, ())
        here = f"{path}.{name}" if path else name
        if title and not isinstance(title[0], str):
            raise FrameError(f"its field {here!r} has a title of type {type(title[0]).__name__}")
        kind = _describe(base, here) if is_record(base) else _name(base, here)
        called = [str(text) for text in (name, *title)]
        if any(not _is_text(text) for text in called):
            raise FrameError(f"its field {here!r} has a name that is no text")
        fields.append([called[0], offset, list(shape), kind, *called[1:]])
    return [dtype.itemsize, issubclass(dtype.type, np.record), dtype.isalignedstruct, *fields]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # it has half of a surrogate pair
        return False
    return True


def _name(dtype: np.dtype[Any], path: str) -> str:
    form = form_of(dtype)
    if form is None:
        raise FrameError(f"its field {path!r} has dtype {dtype}")
    return _OTHER_ORDER + form.name if form.big_endian else form.name


def _read(description: object, depth: int) -> tuple[np.dtype[Any], int]:
    """The dtype, and how many bytes its fields have together, each as often as it is there."""
    if depth >= MAX_RECORD_DEPTH:
        raise FrameError(f"a record in the frame nests deeper than {MAX_RECORD_DEPTH} levels")
    if not isinstance(description, list) or len(description) < _HEAD:
        raise FrameError("a record in the frame is no list of its size, its two marks and fields")
    itemsize, of_records, aligned = description[:_HEAD]
    if type(of_records) is not bool or type(aligned) is not bool:
        raise FrameError("a record in the frame does not say of which kind it is")
    _require_count(itemsize, "a record in the frame has a size of")
    names, formats, offsets, titles = [], [], [], []
    total = 0
    for field in description[_HEAD:]:
        name, offset, shape, kind, title = _field(field)
        if isinstance(kind, str):
            base = _scalar(kind)
            covered = base.itemsize
        else:
            base, covered = _read(kind, depth + 1)
        if offset + base.itemsize * prod(shape) > itemsize:
            raise FrameError(
                f"the field {name!r:.100} of a record in the frame ends behind the record, which "
                f"has {itemsize} bytes"
            )
        total += covered * prod(shape)
        names.append(name)
        formats.append((base, shape) if shape else base)
        offsets.append(offset)
        titles.append(title)
    parts = {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}
    if any(title is not None for title in titles):
        parts["titles"] = titles
    try:
        dtype: np.dtype[Any] = np.dtype(parts, align=aligned)  # type: ignore[call-overload]  # numpy's stubs know no titles
        if of_records:
            dtype = np.dtype((np.record, dtype))
    except (ValueError, TypeError, OverflowError) as error:
        raise FrameError(f"a record in the frame is none that numpy has: {error}") from error
    if dtype.names != tuple(names) or dtype.itemsize != itemsize:
        raise FrameError("a record in the frame is none that numpy has")
    return dtype, total


def _field(field: object) -> tuple[str, int, tuple[int, ...], object, str | None]:
    if not isinstance(field, list) or len(field) not in (4, 5):
        raise FrameError(
            "a field of a record in the frame is no list of its name, offset, shape and type"
        )
    name, offset, shape, kind = field[:4]
    title = field[4] if len(field) == 5 else None
    if type(name) is not str or not isinstance(title, str | None):
        raise FrameError("a field of a record in the frame has a name or title that is no text")
    _require_count(offset, f"the field {name!r:.100} of a record in the frame has an offset of")
    if not isinstance(shape, list) or len(shape) > MAX_RECORD_DIMENSIONS:
        raise FrameError(
            f"the shape of the field {name!r:.100} of a record in the frame is no list of up to "
            f"{MAX_RECORD_DIMENSIONS} lengths"
        )
    for length in shape:
        _require_count(length, f"the field {name!r:.100} of a record in the frame has a length of")
    # Empty dimensions must not hide ones that numpy cannot count.
    _require_count(
        prod(max(length, 1) for length in shape),
        f"the field {name!r:.100} of a record in the frame has a number of elements of",
    )
    return name, offset, tuple(shape), kind, title


def _scalar(name: str) -> np.dtype[Any]:
    swapped = name.startswith(_OTHER_ORDER) and name[1:] in DTYPES
    return numpy_dtype(name[1:]).newbyteorder(">") if swapped else numpy_dtype(name)


def _require_count(number: object, what: str) -> None:
    if type(number) is not int or not 0 <= number <= MAX_RECORD_BYTES:
        shown = number if type(number) is int and number.bit_length() < 100 else type(number)
        raise FrameError(f"{what} {shown}, it must be a number from 0 to {MAX_RECORD_BYTES}")
