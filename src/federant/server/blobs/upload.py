"""A transfer into a file that becomes a blob at its end, digested and flushed while it comes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from federant.link.digest import Buffer, Hasher, octets
from federant.link.messages import BlobRef

from .errors import (
    BlobDigestError,
    BlobOffsetError,
    BlobSpaceError,
    BlobSupersededError,
)

_READ_BYTES: Final = 1 << 20
_FLUSH_BYTES: Final = 8 << 20
"""A transfer begins to go to the disk in pieces of that size, while the next ones come."""
_SYNC_BYTES: Final = 256 << 20
"""No more of it is ever not on the disk, so that its end does not take minutes."""


class FileUpload:
    """A transfer into a file beside the blobs; the file stays until the transfer is complete."""

    def __init__(
        self,
        blob: BlobRef,
        aside: Path,
        offset: int,
        hasher: Hasher | None,
        *,
        sync: bool,
        publish: Callable[[int, Path, str], None],
        forget: Callable[[FileUpload, Hasher | None], None],
        require_space: Callable[[int], None],
    ) -> None:
        self.aside = aside
        self.size = blob.size
        self._blob = blob
        self._start = offset
        self._sync = sync
        self._flushed = self._synced = offset
        self._publish = publish
        self._forget = forget
        self._require_space = require_space
        # Held while the file is touched, so that a transfer that takes over finds it at rest.
        self._lock = threading.Lock()
        self._superseded = False
        there = size_of(aside)
        if not 0 <= offset <= min(there, blob.size):
            raise BlobOffsetError(
                f"blob {blob.digest} cannot go on at byte {offset}: {there} bytes of its "
                f"{blob.size} are there; ask which blobs are missing"
            )
        # One that has digested more than is gone on from is of no use.
        self._hasher = hasher if hasher is not None and hasher.size <= offset else Hasher()
        self._file = aside.open("r+b" if aside.exists() else "x+b", buffering=0)
        if there != offset:
            # Not otherwise: ext4 flushes a file on close once it was truncated to nothing.
            self._file.truncate(offset)
        self._file.seek(offset)

    def write(self, chunk: Buffer) -> None:
        with self._lock:
            hasher = self._ready()
            size = memoryview(chunk).nbytes
            if hasher.size + size > self._blob.size:
                raise BlobDigestError(
                    f"blob {self._blob.digest} is said to have {self._blob.size} bytes, "
                    "and more came"
                )
            write_all(self._file.fileno(), chunk)
            hasher.update(chunk)
            if self._sync:
                self._send_to_disk(hasher.size)

    def finish(self) -> None:
        with self._lock:
            hasher = self._ready()
            if hasher.size < self._blob.size:
                raise BlobOffsetError(
                    f"blob {self._blob.digest} ended after {hasher.size} of its "
                    f"{self._blob.size} bytes; go on from there"
                )
            found = hasher.digest()
            if found != self._blob.digest:
                self.aside.unlink(missing_ok=True)
                raise BlobDigestError(
                    f"what came for blob {self._blob.digest} has the digest {found}; "
                    "it was thrown away: send it again from the start"
                )
            self._publish(self._file.fileno(), self.aside, found)
        self.close()

    @property
    def missing(self) -> int:
        """How many bytes have not come yet."""
        return self.size - max(self._start, self._hasher.size)

    def supersede(self) -> None:
        """Write no more, and let go of the file."""
        self._superseded = True  # before the lock: whoever digests with it held looks at this
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._file.closed:
                return
            self._file.close()
            # What it has digested is good for the next one, if that is what is in the file.
            left = self._hasher if 0 < self._hasher.size <= size_of(self.aside) else None
        self._forget(self, left)

    def _send_to_disk(self, size: int) -> None:
        descriptor = self._file.fileno()
        if size - self._flushed >= _FLUSH_BYTES:
            # Others write too: what was there when it began may be gone.
            self._require_space(0)
            # Linux begins to write what is not written yet, and does not wait; what is on its way
            # to the disk stays in memory for whoever reads it next.
            if hasattr(os, "posix_fadvise"):
                at = self._flushed
                os.posix_fadvise(descriptor, at, size - at, os.POSIX_FADV_DONTNEED)
            self._flushed = size
        if size - self._synced >= _SYNC_BYTES:
            os.fdatasync(descriptor)
            self._synced = size

    def _ready(self) -> Hasher:
        """The digest so far; what an earlier server process left is read for it on first use."""
        while not self._superseded and self._hasher.size < self._start:
            count = min(_READ_BYTES, self._start - self._hasher.size)
            chunk = os.pread(self._file.fileno(), count, self._hasher.size)
            if not chunk:
                raise BlobOffsetError(f"{self.aside} became shorter while it was read")
            self._hasher.update(chunk)
        if self._superseded:
            raise BlobSupersededError(
                f"a newer transfer of blob {self._blob.digest} has taken over from this one"
            )
        return self._hasher


def size_of(path: Path) -> int:
    """A file's bytes, 0 if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def write_all(descriptor: int, chunk: Buffer) -> None:
    """BlobSpaceError if it does not fit on the disk."""
    rest = octets(chunk)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise BlobSpaceError(f"no space for {rest.nbytes} more bytes: {error}") from error
        raise
