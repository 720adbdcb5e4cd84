"""The seam through which values become bytes; the codec that does it is another package's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Codec(Protocol):
    """Turns a value that travels into one frame and back."""

    def dumps(self, body: object) -> bytes:
        """One frame as bytes; TypeError naming the path to what cannot travel."""
        ...

    def chunks(self, body: object) -> Iterable[memoryview]:
        """The same frame in pieces, without a copy of contiguous arrays."""
        ...

    def loads(self, data: bytes | bytearray | memoryview) -> object:
        """The value in a frame; ValueError if the bytes are no frame.

        Arrays can be written to: they are views of `data`, or of a copy if that is read-only.
        """
        ...


_installed: list[Codec] = []


def install(codec: Codec) -> None:
    """Make `codec` the one that to_bytes, from_bytes and the like use."""
    _installed[:] = [codec]


def installed() -> Codec:
    """The codec in use; RuntimeError if there is none."""
    if not _installed:
        raise RuntimeError("no codec is installed: import federant.codec first")
    return _installed[0]
