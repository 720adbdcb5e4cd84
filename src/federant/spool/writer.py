"""The writing end of a spool folder: files leased for one frame each, then recycled; no reading."""

import contextlib
import errno
import logging
import mmap
import os
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import Final

from federant.spool.errors import (
    SpoolClosedError,
    SpoolDiskFullError,
    SpoolFullError,
    SpoolLimitError,
)
from federant.spool.folder import claim

logger = logging.getLogger(__name__)

_SMALLEST: Final = 64 * 1024
# Linux 5.14; the mmap module has no name for it.
_MADV_POPULATE_WRITE: Final = 23
# madvise holds the interpreter's lock: a slice of this size keeps other threads waiting for ~3 ms.
_POPULATE_BYTES: Final = 8 * 1024 * 1024


def size_class(size: int) -> int:
    """The bytes of the file for a frame of `size` bytes: four steps a doubling, from 64 KiB."""
    if size <= _SMALLEST:
        return _SMALLEST
    step = 1 << ((size - 1).bit_length() - 3)
    return -(-size // step) * step


class _File:
    """A file of the pool with the mapping that its writer keeps for life."""

    __slots__ = ("mapping", "name", "size")

    def __init__(self, name: str, size: int, mapping: mmap.mmap) -> None:
        self.name = name
        self.size = size
        self.mapping = mapping


class SpoolFile:
    """A file leased for one frame. As a context manager it gives the file back on an error."""

    __slots__ = ("_writer", "name", "path", "view")

    def __init__(self, writer: "SpoolWriter", name: str, view: memoryview) -> None:
        self._writer = writer
        self.name = name
        self.path = writer.folder / name
        self.view = view
        """Exactly as many bytes as were asked for; valid until the file is given back."""

    def __enter__(self) -> "SpoolFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._writer.give_back(self.name)


class SpoolWriter:
    """Owns one folder of spool files: set aside on disk, mapped, filled once a lease, recycled.

    Any thread may call it. Nothing here waits for a reader: SpoolFullError says that there is no
    room until one gives a file back. A forked child cannot use its parent's writer.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """Makes and owns the folder. limit_bytes bounds all files together, idle ones included.

        Raises ValueError for a limit below 64 KiB, FileExistsError for a folder that is owned.
        """
        if limit_bytes < _SMALLEST:
            raise ValueError(f"a spool must hold at least {_SMALLEST} bytes, got {limit_bytes}")
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._descriptor = claim(folder)
        self._lock = threading.Lock()
        self._idle: list[_File] = []  # the file used last is at the end: its pages are warmest
        self._leased: dict[str, _File] = {}
        self._used = 0
        self._made = 0
        self._closed = False
        self.given_back = 0
        """How many files were given back so far: one that waits for room sees it move."""
        _writers.add(self)

    @property
    def used_bytes(self) -> int:
        """The bytes of all files that the writer holds on disk, leased and idle."""
        return self._used

    @property
    def leased_names(self) -> frozenset[str]:
        """The files that are filled, or being filled, and not yet given back."""
        with self._lock:
            return frozenset(self._leased)

    def lease(self, size: int, *, beside: bool = True) -> SpoolFile:
        """A file for one frame of `size` bytes.

        beside=False: SpoolFullError rather than another file of that size beside leased ones.
        Raises SpoolFullError (a give_back will help), SpoolLimitError (nothing will),
        SpoolDiskFullError, SpoolClosedError.
        """
        wanted = size_class(size)
        with self._lock:
            self._check_open()
            file = self._take_idle(wanted)
            if file is None:
                if not beside and any(each.size == wanted for each in self._leased.values()):
                    raise SpoolFullError(f"every file of {wanted} bytes in {self.folder} is in use")
                self._make_room(wanted)
                self._used += wanted
                self._made += 1
                name = f"frame-{self._made}"
        if file is None:
            try:
                file = self._make(name, wanted)
            except BaseException:
                with self._lock:
                    self._used -= wanted
                    self._check_open()
                raise
        with self._lock:
            if self._closed:
                self._drop(file)
                self._check_open()
            self._leased[file.name] = file
        return SpoolFile(self, file.name, memoryview(file.mapping)[:size])

    def give_back(self, name: str, *, recycle: bool = True) -> None:
        """The frame in this file is not needed any more; unknown names are ignored.

        recycle=False unlinks the file: somebody may look at the bytes for longer than we know.
        """
        with self._lock:
            file = self._leased.pop(name, None)
            if file is None:
                return
            self.given_back += 1
            if recycle and not self._closed:
                self._idle.append(file)
            else:
                self._drop(file)

    def close(self, *, keep_leased: bool = False) -> None:
        """Gives the folder up. keep_leased=True leaves the leased files to whoever reads them,
        to be taken down by `reclaim`. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for file in self._idle:
                self._drop(file)
            if not keep_leased:
                for file in self._leased.values():
                    self._drop(file)
            self._idle.clear()
            self._leased.clear()
            with contextlib.suppress(FileNotFoundError):  # somebody removed the whole root
                if not any(self.folder.iterdir()):
                    self.folder.rmdir()
            os.close(self._descriptor)

    def _check_open(self) -> None:
        if self._closed:
            raise SpoolClosedError(f"the spool writer of {self.folder} is closed")

    def _take_idle(self, wanted: int) -> _File | None:
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index].size == wanted:
                file = self._idle.pop(index)
                if self._is_whole(file):
                    return file
                self._drop(file)
        return None

    def _is_whole(self, file: _File) -> bool:
        """Whether nobody removed or shortened it: writing to what is cut off is a SIGBUS."""
        try:
            return (self.folder / file.name).stat().st_size >= file.size
        except FileNotFoundError:
            return False

    def _make_room(self, wanted: int) -> None:
        if wanted > self.limit_bytes:
            raise SpoolLimitError(
                f"a frame needs a file of {wanted} bytes, the spool {self.folder} may hold "
                f"{self.limit_bytes} in all: raise its limit (spool_bytes)"
            )
        while self._used + wanted > self.limit_bytes:
            if not self._idle:
                raise SpoolFullError(
                    f"a frame needs a file of {wanted} bytes; {len(self._leased)} frames in flight "
                    f"use {self._used} of the {self.limit_bytes} bytes of the spool {self.folder}: "
                    "wait until they are read, or raise its limit (spool_bytes)"
                )
            self._drop(self._idle.pop(0))

    def _make(self, name: str, size: int) -> _File:
        try:
            return self._allocate(name, size)
        except SpoolDiskFullError:
            if not self._drop_idle():
                raise
        return self._allocate(name, size)

    def _drop_idle(self) -> bool:
        """Whether there was any: their bytes are free again once their mappings are dead too."""
        with self._lock:
            found = bool(self._idle)
            while self._idle:
                self._drop(self._idle.pop())
        return found

    def _allocate(self, name: str, size: int) -> _File:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        path = self.folder / name
        descriptor = os.open(path, flags, 0o600)
        try:
            # Without this, writing through the mapping of a file on a full disk is a SIGBUS.
            os.posix_fallocate(descriptor, 0, size)
            mapping = mmap.mmap(descriptor, size)
        except OSError as error:
            path.unlink()
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise SpoolDiskFullError(
                    error.errno,
                    f"{size} bytes for a frame could not be set aside in {self.folder} "
                    f"({error.strerror}): free some space there, or use another folder",
                ) from error
            raise
        finally:
            os.close(descriptor)
        _populate(mapping)
        return _File(name, size, mapping)

    def _drop(self, file: _File) -> None:
        (self.folder / file.name).unlink(missing_ok=True)
        self._used -= file.size

    def abandon_in_child(self) -> None:
        """For the fork hook: closes a forked child's copy of what the parent owns."""
        # No lock: the thread that held it does not exist in the child. Closing this copy of the
        # descriptor leaves the parent's lock on the folder alone, and lets it end with the parent.
        if not self._closed:
            self._closed = True
            os.close(self._descriptor)


def _populate(mapping: mmap.mmap) -> None:
    """Has the kernel make all pages in bulk: three times as fast as one fault after another."""
    try:
        for start in range(0, len(mapping), _POPULATE_BYTES):
            mapping.madvise(_MADV_POPULATE_WRITE, start, min(_POPULATE_BYTES, len(mapping) - start))
    except OSError as error:
        # An older kernel, or a file system that cannot: the pages come as the frame is written.
        logger.debug("spool pages not populated: error=%s", error)


_writers: "weakref.WeakSet[SpoolWriter]" = weakref.WeakSet()


def _abandon_all_in_child() -> None:
    for writer in list(_writers):
        writer.abandon_in_child()


os.register_at_fork(after_in_child=_abandon_all_in_child)
