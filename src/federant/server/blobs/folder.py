"""Blobs by digest: immutable bytes in a folder, and transfers that go on where they were cut.

Knows nothing of jobs or of who may read what.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from federant.link.digest import Buffer, Hasher, octets
from federant.link.messages import BlobRef
from federant.server.state import Durability

from .errors import (
    BlobDigestError,
    BlobNotFoundError,
    BlobOffsetError,
    BlobQuotaError,
    BlobSpaceError,
    BlobSupersededError,
)
from .space import MOST_PARTS, DiskSpace, Parts

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_READ_BYTES: Final = 1 << 20
_OWNER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FLUSH_BYTES: Final = 8 << 20
"""A transfer begins to go to the disk in pieces of that size, while the next ones come."""
_SYNC_BYTES: Final = 256 << 20
"""No more of it is ever not on the disk, so that its end does not take minutes."""
_GROWTH_SECONDS: Final = 0.5
"""A transfer to which nothing was added for that long hangs, as far as one who asks can tell."""
_GROWTH_CHECKS: Final = 20
_TOUCH_SECONDS: Final = 60.0
"""A file's time says to the minute when somebody has last asked for the blob."""
_DIGESTS: Final = 256
"""How many cut transfers have their digest so far remembered; about 2 KB each."""


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


class FolderBlobs:
    """A BlobStore in a folder: ``ab/abcd...`` for blobs, ``partial/`` for what is on its way.

    Each owner has partial files of its own, so that nobody can spoil another's transfer.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durability: Durability = Durability.POWER,
        keep_free_bytes: int = 0,
    ) -> None:
        self._folder = folder
        self._partial = folder / "partial"
        self._partial.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._disk = DiskSpace(folder, keep_free_bytes)
        self._parts = Parts(self._partial)
        self._sync = durability is Durability.POWER
        self._lock = threading.Lock()
        self._naming = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._current: dict[Path, _FileUpload] = {}
        self._digests: dict[Path, Hasher] = {}  # of cut transfers, so that nothing is read again
        self._synced: set[Path] = set()  # subfolders that are known to be durable themselves

    @property
    def disk(self) -> DiskSpace:
        return self._disk

    def size(self, digest: str) -> int | None:
        place = self._place(digest)
        try:
            found = place.stat()
            if found.st_mtime <= time.time() - _TOUCH_SECONDS:
                os.utime(place)
        except FileNotFoundError:
            return None
        return found.st_size

    def path(self, digest: str) -> Path:
        place = self._place(digest)
        if not place.is_file():
            raise BlobNotFoundError(f"there is no blob {digest} in {self._folder}")
        return place

    def put(self, chunks: Iterable[Buffer]) -> BlobRef:
        hasher = Hasher()
        aside = self._partial / f"own-{secrets.token_hex(8)}"
        try:
            with aside.open("xb", buffering=0) as file:
                for chunk in chunks:
                    hasher.update(chunk)
                    _write_all(file.fileno(), chunk)
                self._publish(file.fileno(), aside, hasher.digest())
        finally:
            aside.unlink(missing_ok=True)
        return hasher.ref()

    def offset(self, blob: BlobRef, owner: str) -> int:
        aside = self._aside(blob, owner)
        # Of a transfer that was cut much may still be on its way from the network to the file.
        there = _size(aside)
        for _ in range(_GROWTH_CHECKS):
            with self._ended:
                if self._ended.wait_for(lambda: aside not in self._current, _GROWTH_SECONDS):
                    break
            before, there = there, _size(aside)
            if there == before:
                break
        return min(_size(aside), blob.size)

    def begin(
        self, blob: BlobRef, owner: str, offset: int, most_bytes: int | None = None
    ) -> Upload:
        """A transfer that another of the same owner and blob is under way for takes over from it.

        The other one is of a client job that is gone, or of a connection that hangs.
        """
        aside = self._aside(blob, owner)
        while True:
            with self._lock:
                previous = self._current.get(aside)
                if previous is None:
                    self._make_room(aside, owner, blob, most_bytes)
                    taken = sum(each.missing for each in self._current.values())
                    self._disk.require(blob.size - offset, taken)
                    hasher = self._digests.pop(aside, None)
                    upload = _FileUpload(
                        *(blob, aside, offset, hasher),
                        sync=self._sync,
                        publish=self._publish,
                        forget=self._forget,
                        require_space=self._disk.require,
                    )
                    self._current[aside] = upload
                    self._parts.add(aside)
                    return upload
            # Without the lock: it may have to wait for the disk.
            previous.supersede()

    def clean(self, older_than_seconds: float) -> int:
        """Remove partial files that nobody has touched for that long; returns how many."""
        oldest = time.time() - older_than_seconds
        removed = 0
        for aside in self._partial.iterdir():
            with self._lock:
                if aside not in self._current and _is_older(aside, oldest):
                    self._remove(aside)
                    removed += 1
        return removed

    def idle(self, seconds: float) -> list[str]:
        oldest = time.time() - seconds
        return [
            path.name
            for path in self._folder.glob("[0-9a-f][0-9a-f]/*")
            if _DIGEST.fullmatch(path.name) and _is_older(path, oldest)
        ]

    def remove(self, digest: str, idle_seconds: float) -> bool:
        place = self._place(digest)
        # Else the blob that a transfer makes just now could go for the old one.
        with self._naming:
            try:
                if place.stat().st_mtime > time.time() - idle_seconds:
                    return False
                place.unlink()
            except FileNotFoundError:
                return False
        return True

    def _make_room(self, aside: Path, owner: str, blob: BlobRef, most_bytes: int | None) -> None:
        """Forget the owner's oldest cut transfers, as far as there are too many beside this one."""
        others = self._parts.beside(aside)
        running = [self._current[each] for each in others if each in self._current]
        cut = [each for each in others if each not in self._current]
        wanted = blob.size + sum(each.size for each in running)
        if len(running) >= MOST_PARTS:
            raise BlobQuotaError(
                f"{owner} has {len(running)} transfers under way, and one may have no more; let "
                "one of them end first"
            )
        if most_bytes is not None and wanted > most_bytes:
            raise BlobQuotaError(
                f"{owner} would have {wanted} bytes under way, and it may have {most_bytes} more "
                "that are no task's result; the federation's operator may allow it more "
                "(site_bytes in the table [limits] of server.toml)"
            )
        sizes = {each: _size(each) for each in cut}
        left = sum(sizes.values())
        for each in cut:
            too_many = len(running) + len(sizes) >= MOST_PARTS
            if not too_many and (most_bytes is None or wanted + left <= most_bytes):
                break
            left -= sizes.pop(each)
            self._remove(each)

    def _remove(self, aside: Path) -> None:
        aside.unlink(missing_ok=True)
        self._digests.pop(aside, None)
        self._parts.forget(aside)

    def _place(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise BlobNotFoundError(f"{digest!r} is no digest: 64 hexadecimal digits are")
        return self._folder / digest[:2] / digest

    def _aside(self, blob: BlobRef, owner: str) -> Path:
        if not _OWNER.fullmatch(owner):
            raise ValueError(f"{owner!r} cannot own a transfer: letters, digits, '-' and '_' can")
        return self._partial / f"{self._place(blob.digest).name}.{owner}"

    def _publish(self, descriptor: int, aside: Path, digest: str) -> None:
        """Make a complete file the blob that it is.

        It stays writable until it has its name: of a file whose way ends here, by a kill or a bad
        disk, the next transfer must be able to make something.
        """
        place = self._place(digest)
        place.parent.mkdir(exist_ok=True, mode=0o700)
        os.utime(descriptor)  # its last byte may have come long ago
        if self._sync:
            try:
                os.fsync(descriptor)
            except OSError:
                # What did not reach the disk may look from now on as if it had: send it again.
                aside.unlink(missing_ok=True)
                raise
        with self._naming:
            aside.replace(place)
        os.fchmod(descriptor, 0o400)
        if self._sync:
            _sync_folder(place.parent)
            if place.parent not in self._synced:
                # Not only if it was made here: who made it may have been killed before this.
                _sync_folder(self._folder)
                self._synced.add(place.parent)

    def _forget(self, upload: _FileUpload, hasher: Hasher | None) -> None:
        """It has ended; ``hasher`` is what it has digested of the file that it leaves."""
        with self._ended:
            if self._current.get(upload.aside) is not upload:
                return
            del self._current[upload.aside]
            if not upload.aside.exists():  # complete, or of no use
                self._parts.forget(upload.aside)
            if hasher is not None:
                while len(self._digests) >= _DIGESTS:
                    del self._digests[next(iter(self._digests))]
                self._digests[upload.aside] = hasher
            self._ended.notify_all()


class _FileUpload:
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
        forget: Callable[[_FileUpload, Hasher | None], None],
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
        there = _size(aside)
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
            _write_all(self._file.fileno(), chunk)
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
            left = self._hasher if 0 < self._hasher.size <= _size(self.aside) else None
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


def _is_older(path: Path, than: float) -> bool:
    try:
        return path.stat().st_mtime <= than
    except FileNotFoundError:  # it has become a blob, say, or was given up
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _write_all(descriptor: int, chunk: Buffer) -> None:
    rest = octets(chunk)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise BlobSpaceError(f"no space for {rest.nbytes} more bytes: {error}") from error
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
