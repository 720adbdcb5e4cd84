"""Whether what a site calls an image is one that a sink may be given; decodes nothing.

A site may put any bytes. Libraries that look at images take to formats that run other programs, and
to files of some kilobytes that become gigabytes of pixels.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from federant.link.messages import EventKind
from federant.server.blobs import BlobStore
from federant.server.state import EventRow

_HEADER: Final = struct.Struct(">8sI4sIIBB")
"""A PNG's signature, and the beginning of its first chunk up to the colour type."""
_BEGINNING: Final = (b"\x89PNG\r\n\x1a\n", 13, b"IHDR")
_BITS: Final = 8
_CHANNELS: Final = {0: 1, 4: 2, 2: 3, 6: 4}
"""By PNG's colour type."""
_MOST_PIXEL_BYTES: Final = 16 << 20
"""As much as a trainer may log."""


@dataclass(frozen=True, slots=True)
class Png:
    """A PNG file as sites make them: of 8 bits a channel, and no more pixels than allowed."""

    file: bytes
    width: int
    height: int
    channels: int


def png_in(blobs: BlobStore, event: EventRow) -> Png | None:
    """The event's image; None if it has none, or refers to something else."""
    if event.kind != EventKind.IMAGE or event.blob is None:
        return None
    file = blobs.path(event.blob.digest).read_bytes()
    if len(file) < _HEADER.size:
        return None
    *beginning, width, height, bits, color_type = _HEADER.unpack_from(file)
    channels = _CHANNELS.get(color_type)
    if tuple(beginning) != _BEGINNING or bits != _BITS or channels is None:
        return None
    if not 0 < width * height * channels <= _MOST_PIXEL_BYTES:
        return None
    return Png(file, width, height, channels)
