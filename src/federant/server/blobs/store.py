"""What a store of blobs can do, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from federant.link.digest import Buffer
from federant.link.messages import BlobRef

from .space import DiskSpace


class Upload(Protocol):
    """One transfer of a blob into the store.  Used by one thread at a time."""

    def write(self, chunk: Buffer) -> None:
        """Append bytes."""

    def finish(self) -> None:
        """Check size and digest and make the blob visible; durable when this returns."""

    def close(self) -> None:
        """End the transfer; what came before ``finish`` is kept to go on from.  Idempotent."""


class BlobStore(Protocol):
    """Where blobs lie.  Thread-safe."""

    def size(self, digest: str) -> int | None:
        """The blob's size in bytes, or None if it is not there.

        To ask is to need it: it is not idle then.
        """

    def path(self, digest: str) -> Path:
        """A file that holds the blob and never changes; BlobNotFoundError if it is not there."""

    def put(self, chunks: Iterable[Buffer]) -> BlobRef:
        """Store the blob that these chunks make up."""

    def offset(self, blob: BlobRef, owner: str) -> int:
        """How many bytes of the owner's cut transfer of the blob are there.

        Waits, some seconds at most, for what is still being written of them.
        """

    def begin(
        self, blob: BlobRef, owner: str, offset: int, most_bytes: int | None = None
    ) -> Upload:
        """Start the owner's transfer of the blob, or go on with it from ``offset``.

        BlobQuotaError if all transfers of the owner would come to more than ``most_bytes``;
        BlobSpaceError if there is no space for it.
        """

    def clean(self, older_than_seconds: float) -> int:
        """Remove cut transfers to which nothing came for that long; returns how many."""

    def idle(self, seconds: float) -> list[str]:
        """Digests of the blobs that for so long nobody has put or asked for."""

    def remove(self, digest: str, idle_seconds: float) -> bool:
        """Remove a blob that is idle for so long; False if it is not, or is not there."""

    @property
    def disk(self) -> DiskSpace:
        """Where they lie."""
