"""The name of a blob: the BLAKE3 digest of its bytes in hex; no input or output."""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from .messages import BlobRef

Buffer = bytes | bytearray | memoryview


def octets(chunk: Buffer) -> memoryview:
    """The chunk as plain bytes, whatever its items are; no copy."""
    view = memoryview(chunk)
    return view.cast("B") if view.nbytes else memoryview(b"")


class Hasher:
    """Digests bytes as they pass; counts them too."""

    __slots__ = ("_hash", "size")

    def __init__(self) -> None:
        self._hash = blake3()
        self.size = 0

    def update(self, chunk: Buffer) -> None:
        view = octets(chunk)
        self._hash.update(view)
        self.size += view.nbytes

    def digest(self) -> str:
        return self._hash.hexdigest()

    def ref(self) -> BlobRef:
        return BlobRef(digest=self.digest(), size=self.size)


def blob_ref(chunks: Iterable[Buffer]) -> BlobRef:
    """The reference of the blob that these chunks make up, in order."""
    hasher = Hasher()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.ref()
