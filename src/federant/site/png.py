"""Pixels as a PNG file, by zlib alone: what every sink of images takes, and no library is needed.

The format is that of the W3C's Portable Network Graphics specification: a signature, then chunks
of length, type, data and CRC-32. Rows are not filtered, so a photograph is a little larger than
another encoder would make it.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final, TypeGuard

import numpy as np

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES: Final = {1: 0, 2: 4, 3: 2, 4: 6}
"""By the number of channels: grey, grey with alpha, RGB, RGB with alpha."""
_BITS: Final = 8
_NO_FILTER: Final = 0


def is_pixels(value: object) -> TypeGuard[Pixels]:
    """Whether it is uint8 of shape (height, width, channels), with 1 to 4 channels."""
    return (
        isinstance(value, np.ndarray)
        and value.dtype == np.uint8
        and value.ndim == 3
        and value.shape[2] in _COLOR_TYPES
        and value.size > 0
    )


def png(pixels: Pixels) -> bytes:
    """The file of an image of which ``is_pixels`` holds."""
    height, width, channels = pixels.shape
    rows = np.full((height, 1 + width * channels), _NO_FILTER, np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, _BITS, _COLOR_TYPES[channels], 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            *_chunk(b"IHDR", header),
            *_chunk(b"IDAT", zlib.compress(rows.data)),
            *_chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    check = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", check)
