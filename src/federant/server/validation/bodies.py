"""What lies in a result's frame, with its tensors as places in the file; judges nothing."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from federant.codec import DEFAULT_LIMITS, TensorSpan, header_size, read_layout
from federant.codec.kinds import ARRAY_CODES
from federant.exchange import DXO, ReservedHeaderKey, Shareable, from_shareable
from federant.server.aggregation.numbers import kind_of

Numbers = np.ndarray[Any, np.dtype[Any]]

CHUNK_BYTES: Final = 1 << 20
"""Bytes of a tensor that are looked at at a time."""


def dxo_of(body: object) -> DXO | None:
    """The DXO that a body is or holds, None for a Shareable without one; ValueError for others."""
    if isinstance(body, DXO):
        return body
    if not isinstance(body, Shareable):
        raise ValueError(f"its body is a {type(body).__name__}, a Shareable or a DXO is needed")
    if body.get_header(ReservedHeaderKey.CONTENT_TYPE) is None:
        return None
    return from_shareable(body)


def body_in(path: Path) -> object:
    """The body of a frame, with a TensorSpan for each array; FrameError if it is no frame."""
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        head = file.read(8)
        head += file.read(header_size(head, DEFAULT_LIMITS) - len(head))
    # Long text lies in tensors too, and is none.
    layout = read_layout(head, total)
    return layout.build(lambda code, span: span if code in ARRAY_CODES else None)


def mapped(path: Path) -> mmap.mmap:
    """A blob's bytes: it is complete and never changes.  They go with the last view of them."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def numbers_in(value: object, frame: mmap.mmap) -> Iterator[Numbers]:
    """A leaf's floating point numbers, in a row, some at a time; nothing for any other leaf."""
    if isinstance(value, TensorSpan):
        dtype = value.numpy_dtype
        if kind_of(dtype) in "fc":
            step = CHUNK_BYTES // dtype.itemsize
            count = math.prod(value.shape)
            for start in range(0, count, step):
                size = min(step, count - start)
                yield np.frombuffer(frame, dtype, size, value.start + start * dtype.itemsize)
    elif isinstance(value, float | complex | np.inexact):
        yield np.asarray(value).reshape(1)
