"""The safetensors header: which tensor lies where. Nothing here knows what the tensors mean."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from federant.codec.dtypes import ITEM_SIZES, numpy_dtype
from federant.codec.errors import FrameError
from federant.codec.limits import DEFAULT_LIMITS, Limits

ALIGNMENT = 64
"""The tensors begin at a multiple of this many bytes, a cache line."""

_PAGE_BYTES = 4096
_LARGE_BYTES = 1 << 18
"""From so many on, the tensors begin in the middle of a page.

A program's own large arrays begin near the start of one. Between two addresses that differ by a
little more than a multiple of 4096 an AMD EPYC copied three times as slowly. Processors that tell
stores from loads by the last 12 bits of their addresses do so ("4K aliasing").
"""

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

_encode_json = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class TensorSpan:
    """Where a tensor lies: its bytes are `frame[start:stop]`."""

    name: str
    dtype: str
    """safetensors' name of the dtype; in a body's layout ours (`<M8[s]`) where it has none."""
    shape: tuple[int, ...]
    start: int
    stop: int
    record: np.dtype[Any] | None = None
    """In a body's layout, the dtype of an array of records; `dtype` is then that of their bytes."""

    @property
    def nbytes(self) -> int:
        return self.stop - self.start

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return numpy_dtype(self.dtype) if self.record is None else self.record


def of_own_dtype(span: TensorSpan, dtype: str, record: np.dtype[Any] | None = None) -> TensorSpan:
    """The place of an array with a dtype of ours, whose bytes are a U8 tensor; or FrameError."""
    size = numpy_dtype(dtype).itemsize
    if span.dtype != "U8" or not span.shape or span.shape[-1] != size:
        raise FrameError(
            f"tensor {span.name!r} of dtype {span.dtype} and shape {span.shape} holds no array of "
            f"dtype {dtype!r}: that needs U8 with a last dimension of {size}"
        )
    return TensorSpan(span.name, dtype, span.shape[:-1], span.start, span.stop, record)


class Tensor(NamedTuple):
    """An array as it is to be written."""

    array: np.ndarray[Any, Any]
    written: np.dtype[Any]
    """The dtype of its bytes in the frame."""
    dtype: str
    """safetensors' name of its dtype; U8 for one that safetensors lacks."""
    shape: tuple[int, ...]
    """What safetensors sees, with the bytes of an element as last dimension of such a U8."""


def plan_header(
    tensors: dict[str, Tensor], metadata: dict[str, str], limits: Limits
) -> tuple[bytes, list[TensorSpan]]:
    """The header and the place of each tensor, in the order in which they lie in the frame.

    Every tensor is aligned to its item size (to the power of two in it): those of whole pages come
    first, then those whose size is a multiple of 64, the rest by descending item size, without
    gaps, which safetensors refuses. FrameError for a header that no reader would take.
    """
    order = sorted(tensors.items(), key=_place)
    entries: dict[str, object] = {METADATA: metadata}
    offset = 0
    for name, tensor in order:
        stop = offset + tensor.array.nbytes
        entries[name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": (offset, stop),
        }
        offset = stop
    text = _encode_json(entries)
    check_parts(text, limits)
    least = LENGTH_BYTES + len(text)
    length = len(text) + (
        -least % ALIGNMENT if offset < _LARGE_BYTES else (_PAGE_BYTES // 2 - least) % _PAGE_BYTES
    )
    header = length.to_bytes(LENGTH_BYTES, "little") + text.encode("ascii").ljust(length)
    spans = []
    start = len(header)
    for name, tensor in order:
        stop = start + tensor.array.nbytes
        spans.append(TensorSpan(name, tensor.dtype, tensor.shape, start, stop))
        start = stop
    return header, spans


def _place(item: tuple[str, Tensor]) -> tuple[bool, bool, int]:
    array = item[1].array
    count, size = array.nbytes, array.itemsize
    return count == 0 or count % _PAGE_BYTES != 0, count % ALIGNMENT != 0, -(size & -size)


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
    if dtype not in ITEM_SIZES:
        raise FrameError(f"tensor {name!r} has dtype {dtype!r}, known are {', '.join(ITEM_SIZES)}")
    if len(shape) > MAX_DIMENSIONS:
        raise FrameError(f"tensor {name!r} has {len(shape)} dimensions, at most 32 are taken")
    _check_counting(name, [*shape, begin, end])
    # Empty dimensions must not hide ones that numpy cannot count.
    if prod(max(dimension, 1) for dimension in shape) > _MAX_ELEMENTS:
        raise FrameError(f"tensor {name!r} of shape {shape} is larger than numpy can count")
    if prod(shape) * ITEM_SIZES[dtype] != end - begin:
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
