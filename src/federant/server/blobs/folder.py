"""Blobs by digest: immutable bytes in a folder, and transfers that go on where they were cut.

Knows nothing of jobs or of who may read what.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from federant.link.digest import Buffer, Hasher
from federant.link.messages import BlobRef
from federant.server.state import Durability

from .errors import (
    BlobNotFoundError,
    BlobQuotaError,
)
from .space import MOST_PARTS, DiskSpace, Parts
from .store import Upload
from .upload import FileUpload, size_of, write_all

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_OWNER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_GROWTH_SECONDS: Final = 0.5
"""A transfer to which nothing was added for that long hangs, as far as one who asks can tell."""
_GROWTH_CHECKS: Final = 20
_TOUCH_SECONDS: Final = 60.0
"""A file's time says to the minute when somebody has last asked for the blob."""
_DIGESTS: Final = 256
"""How many cut transfers have their digest so far remembered; about 2 KB each."""


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
        self._current: dict[Path, FileUpload] = {}
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
                    write_all(file.fileno(), chunk)
                self._publish(file.fileno(), aside, hasher.digest())
        finally:
            aside.unlink(missing_ok=True)
        return hasher.ref()

    def offset(self, blob: BlobRef, owner: str) -> int:
        aside = self._aside(blob, owner)
        # Of a transfer that was cut much may still be on its way from the network to the file.
        there = size_of(aside)
        for _ in range(_GROWTH_CHECKS):
            with self._ended:
                if self._ended.wait_for(lambda: aside not in self._current, _GROWTH_SECONDS):
                    break
            before, there = there, size_of(aside)
            if there == before:
                break
        return min(size_of(aside), blob.size)

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
                    upload = FileUpload(
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
        sizes = {each: size_of(each) for each in cut}
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

    def _forget(self, upload: FileUpload, hasher: Hasher | None) -> None:
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


def _is_older(path: Path, than: float) -> bool:
    try:
        return path.stat().st_mtime <= than
    except FileNotFoundError:  # it has become a blob, say, or was given up
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
