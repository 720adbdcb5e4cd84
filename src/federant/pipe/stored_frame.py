"""A frame that a pipe's passive end has left where it lies, until its value is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

from federant.codec import LENGTH_BYTES, FrameError, Layout, decode, header_size, read_layout
from federant.spool import SpoolReader

INLINE_BYTES: Final = 32 * 1024
"""A frame of up to so many bytes travels and is held in memory; a larger one lies in a file."""
CHUNK_BYTES: Final = 1 << 20


class StoredFrame:
    """The data of a message, unread: a spool file of the sender, or bytes if it is small.

    Nothing of it is mapped: a sender that shortens its file meanwhile causes a SpoolFileError.
    Not thread-safe, but for `release`.
    """

    def __init__(
        self,
        size: int,
        content: bytes | None,
        path: Path | None,
        read: Callable[[int, int], Any],
        on_release: Callable[[], None] | None = None,
    ) -> None:
        self.size = size
        """Bytes of the whole frame."""
        self.content = content
        """The whole frame, if it is held in memory; else None."""
        self.path = path
        """The file; None if the frame is held in memory."""
        self._read = read
        self._on_release = on_release

    @classmethod
    def of_file(
        cls, reader: SpoolReader, name: str, size: int, on_release: Callable[[], None]
    ) -> StoredFrame:
        return cls(size, None, reader.folder / name, partial(reader.read, name), on_release)

    @classmethod
    def of_bytes(cls, content: bytes) -> StoredFrame:
        def read(size: int, offset: int) -> bytearray:
            return bytearray(content[offset : offset + size])

        return cls(len(content), content, None, read)

    @cached_property
    def layout(self) -> Layout:
        """What the header says, read without the tensors. FrameError if it is no frame."""
        if self.content is not None:
            return read_layout(self.content, self.size)
        if self.size < LENGTH_BYTES:
            raise FrameError(f"a frame of {self.size} bytes is too short to have a header")
        head = header_size(bytes(self._read(LENGTH_BYTES, 0)))
        if head > self.size:
            raise FrameError(f"the header of {head} bytes is longer than the frame ({self.size})")
        return read_layout(memoryview(self._read(head, 0)), self.size)

    def open(self) -> object:
        """The value, in fresh memory; FrameError if it is no frame."""
        return decode(memoryview(self._read(self.size, 0))).body

    def chunks(self, offset: int = 0) -> Iterator[memoryview]:
        """The frame's bytes from `offset` on, in pieces of at most 1 MiB."""
        while offset < self.size:
            size = min(CHUNK_BYTES, self.size - offset)
            yield memoryview(self._read(size, offset))
            offset += size

    def release(self) -> None:
        """Gives the file back to its sender; may be called twice, from any thread."""
        on_release, self._on_release = self._on_release, None
        if on_release is not None:
            on_release()
