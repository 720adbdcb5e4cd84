"""How much of the server's disk others may take; what lies there is written elsewhere."""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from federant.link.messages import BlobRef
from federant.server.state import Store

from .errors import BlobSpaceError

MOST_PARTS: Final = 64
"""Transfers of one owner, under way or cut."""


class DiskSpace:
    """The disk of a folder, of which ``keep_free_bytes`` are for nobody else."""

    def __init__(self, folder: Path, keep_free_bytes: int = 0) -> None:
        self.folder = folder
        self.keep_free_bytes = keep_free_bytes

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    def require(self, count: int, taken: int = 0) -> None:
        """BlobSpaceError if so many bytes more are not to be had.

        ``taken`` are promised to others, and not written yet.
        """
        free = self.free_bytes
        if count > free - taken - self.keep_free_bytes:
            promised = f", {taken} of which are for transfers under way" if taken else ""
            kept = f", and {self.keep_free_bytes} stay free" if self.keep_free_bytes else ""
            raise BlobSpaceError(
                f"there is no space for {count} more bytes: the disk of {self.folder} has {free} "
                f"bytes left{promised}{kept}; make room on it"
            )


class Parts:
    """The files of transfers that are not complete, by owner, the oldest first.

    Their names end in their owner's.  For one thread at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._of: dict[str, OrderedDict[Path, None]] = {}
        found = [(path.stat().st_mtime, path) for path in folder.iterdir() if path.suffix]
        for _, path in sorted(found):
            self.add(path)

    def add(self, path: Path) -> None:
        """It becomes its owner's newest."""
        mine = self._of.setdefault(path.suffix, OrderedDict())
        mine[path] = None
        mine.move_to_end(path)

    def forget(self, path: Path) -> None:
        self._of.get(path.suffix, OrderedDict()).pop(path, None)

    def beside(self, path: Path) -> list[Path]:
        """All others of its owner."""
        return [each for each in self._of.get(path.suffix, ()) if each != path]


class SiteSpace:
    """How many bytes a site may put that are no task's result.  Thread-safe.

    A result counts from its upload to its commit, and then no more: how many a site may hand in is
    bounded by its tasks.  What belongs to metrics, an image say, goes on counting.
    """

    def __init__(self, store: Store, most_bytes: int | None) -> None:
        self._store = store
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}
        self._forgotten = store.forgotten

    def left(self, site: str) -> int | None:
        """How many bytes it may have under way now; None: as many as it likes."""
        if self._most_bytes is None:
            return None
        with self._lock:
            return max(0, self._most_bytes - self._of(site))

    def put(self, site: str, blob: BlobRef) -> None:
        """A blob of the site's has come, and the store knows of it."""
        with self._lock:
            # Asked for the first time, the store counts this one too.
            if site in self._held:
                self._held[site] += blob.size

    def committed(self, site: str, blob: BlobRef) -> None:
        """It is a result now."""
        with self._lock:
            if site in self._held:
                self._held[site] = max(0, self._held[site] - blob.size)

    def _of(self, site: str) -> int:
        if self._forgotten != self._store.forgotten:
            self._forgotten = self._store.forgotten
            self._held.clear()
        if site not in self._held:
            self._held[site] = self._store.unused_bytes(site)
        return self._held[site]
