"""The safetensors header: which tensor lies where. Nothing here knows what the tensors mean."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from federant.codec.errors import FrameError
from federant.codec.limits import DEFAULT_LIMITS, Limits

ALIGNMENT = 64
"""The tensors begin at a multiple of this many bytes, a cache line."""

METADATA = "__metadata__"

LENGTH_BYTES = 8
"""The header's length stands in front of it as an unsigned little-endian number."""

MAX_DIMENSIONS = 32
"""What every numpy takes."""

_MAX_ELEMENTS = 1 << 62
# What a header may be made of. A tensor's entry has a brace and two brackets, a comma for each of
# its parts and dimensions, and ten quotation marks; its name may add to these. A small header is
# not counted, and a larger one may go beyond by as much, so that a few odd names pass.
_PARTS_PER_TENSOR = 16
_QUOTES_PER_TENSOR = 12
_UNCOUNTED_BYTES = 64 * 1024
_METADATA_KEYS = 256

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("bool"),
    "I8": np.dtype("i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
}
"""numpy's dtype for each of safetensors' names."""

# Keyed without the byte order: a big-endian array travels as the same values in little-endian.
_NAMES = {dtype.str[1:]: name for name, dtype in DTYPES.items()}

_encode_json = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class TensorSpan:
    """Where a tensor lies: its bytes are `frame[start:stop]`; `dtype` is safetensors' name."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        return self.stop - self.start

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return DTYPES[self.dtype]


def dtype_name(dtype: np.dtype[Any]) -> str | None:
    """safetensors' name of a numpy dtype of either byte order, None if it has none."""
    return _NAMES.get(dtype.str[1:])


def plan_header(
    arrays: dict[str, np.ndarray[Any, Any]], metadata: dict[str, str], limits: Limits
) -> tuple[bytes, list[TensorSpan]]:
    """The header and the place of each array, in the order in which they lie in the frame.

    Every tensor is aligned to its item size: those whose size is a multiple of 64 come first,
    the rest by descending item size, without gaps, which safetensors refuses. FrameError for a
    header that no reader would take.
    """
    order = sorted(
        arrays.items(), key=lambda item: (item[1].nbytes % ALIGNMENT != 0, -item[1].itemsize)
    )
    entries: dict[str, object] = {METADATA: metadata}
    offset = 0
    for name, array in order:
        stop = offset + array.nbytes
        entries[name] = {
            "dtype": _NAMES[array.dtype.str[1:]],
            "shape": array.shape,
            "data_offsets": (offset, stop),
        }
        offset = stop
    text = _encode_json(entries)
    check_parts(text, limits)
    length = len(text) + -(LENGTH_BYTES + len(text)) % ALIGNMENT
    header = length.to_bytes(LENGTH_BYTES, "little") + text.encode("ascii").ljust(length)
    spans = []
    start = len(header)
    for name, array in order:
        stop = start + array.nbytes
        spans.append(TensorSpan(name, _NAMES[array.dtype.str[1:]], array.shape, start, stop))
        start = stop
    return header, spans


def header_size(first8: bytes | bytearray | memoryview, limits: Limits = DEFAULT_LIMITS) -> int:
    """How many bytes the header takes, with its length in front, from the first 8 bytes."""
    if len(first8) < LENGTH_BYTES:
        raise FrameError(f"a frame has at least {LENGTH_BYTES} bytes, there are {len(first8)}")
    length = int.from_bytes(first8[:LENGTH_BYTES], "little")
    if length > limits.header_bytes:
        raise FrameError(
            f"the frame claims a header of {length} bytes, at most {limits.header_bytes} are taken"
        )
    return LENGTH_BYTES + length


def parse_header(
    head: bytes | bytearray | memoryview, total_size: int, limits: Limits
) -> tuple[dict[str, str], list[TensorSpan]]:
    """The metadata and the tensors of a frame of `total_size` bytes that begins with `head`."""
    size = header_size(head, limits)
    if size > total_size or size > len(head):
        raise FrameError(
            f"the frame claims a header of {size} bytes, "
            f"it has {total_size} in all and {len(head)} are at hand"
        )
    try:
        text = str(memoryview(head)[LENGTH_BYTES:size], "utf-8")
        check_parts(text, limits)
        entries = _decode_json(text)
    except FrameError:
        raise
    except (ValueError, RecursionError) as error:
        raise FrameError(f"the frame's header is no JSON: {error}") from error
    if not isinstance(entries, dict):
        raise FrameError("the frame's header is no JSON object")
    metadata = entries.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FrameError(f"{METADATA} in the frame's header must map strings to strings")
    if len(metadata) > _METADATA_KEYS:
        raise FrameError(
            f"{METADATA} in the frame's header has {len(metadata)} keys, "
            f"at most {_METADATA_KEYS} are taken"
        )
    if len(entries) > limits.tensors:
        raise FrameError(
            f"the frame has {len(entries)} tensors, at most {limits.tensors} are taken"
        )
    spans = [_span(name, entry, size) for name, entry in entries.items()]
    spans.sort(key=lambda span: (span.start, span.stop))
    _check_gapless(spans, size, total_size)
    return metadata, spans


def check_parts(text: str, limits: Limits) -> None:
    """FrameError if the header has more parts than its tensors need, before they become objects."""
    if len(text) <= _UNCOUNTED_BYTES:
        return
    tensors = text.count('"data_offsets"')
    if tensors > limits.tensors:
        raise FrameError(f"the frame has more than {limits.tensors} tensors")
    parts = text.count(",") + text.count("{") + text.count("[")
    if (
        parts > _PARTS_PER_TENSOR * tensors + _UNCOUNTED_BYTES
        or text.count('"') > _QUOTES_PER_TENSOR * tensors + _UNCOUNTED_BYTES
    ):
        raise FrameError(f"the frame's header has more parts than its {tensors} tensors can need")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FrameError("the frame's header names a key twice")
    return found


_decode_json = json.JSONDecoder(object_pairs_hook=_unique).decode


def _span(name: str, entry: object, header_bytes: int) -> TensorSpan:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            pass
        case _:
            raise FrameError(f"tensor {name!r} needs a dtype, a shape and two data_offsets")
    if dtype not in DTYPES:
        raise FrameError(f"tensor {name!r} has dtype {dtype!r}, known are {', '.join(DTYPES)}")
    if len(shape) > MAX_DIMENSIONS:
        raise FrameError(f"tensor {name!r} has {len(shape)} dimensions, at most 32 are taken")
    _check_counting(name, [*shape, begin, end])
    # Empty dimensions must not hide ones that numpy cannot count.
    if prod(max(dimension, 1) for dimension in shape) > _MAX_ELEMENTS:
        raise FrameError(f"tensor {name!r} of shape {shape} is larger than numpy can count")
    if prod(shape) * DTYPES[dtype].itemsize != end - begin:
        raise FrameError(
            f"tensor {name!r} of shape {shape} and dtype {dtype} does not take {end - begin} bytes"
        )
    return TensorSpan(name, dtype, tuple(shape), header_bytes + begin, header_bytes + end)


def _check_counting(name: str, numbers: Iterable[object]) -> None:
    for number in numbers:
        if type(number) is not int or number < 0:
            raise FrameError(f"tensor {name!r} has {number!r} where a number from 0 up must stand")


def _check_gapless(spans: list[TensorSpan], start: int, total_size: int) -> None:
    for span in spans:
        if span.start != start:
            raise FrameError(
                f"tensor {span.name!r} begins at byte {span.start}, "
                f"the one before it ends at {start}: tensors must neither overlap nor leave gaps"
            )
        start = span.stop
    if start != total_size:
        raise FrameError(f"the frame's header describes {start} bytes, there are {total_size}")
