"""The reading end of a spool folder: frames as private mappings or as bytes; no writing here."""

import mmap
import os
import stat
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from federant.spool.errors import SpoolFileError
from federant.spool.folder import checked_name

_READ_BYTES: Final = 1 << 30  # Linux reads at most 2 GiB - 4 KiB at once


class FreedFile(NamedTuple):
    """A file whose last view is dead in this process."""

    name: str
    recycle: bool
    """False: a forked child may still look at it, so its bytes must never change."""


class _Forks:
    """Counts forks, so that a mapping can tell whether a child may have inherited it."""

    count = 0


def _count_fork() -> None:
    _Forks.count += 1


# Counted on both sides of the fork: a mapping made by another thread in between has the middle
# count, and is told from one that was made later.
os.register_at_fork(before=_count_fork, after_in_parent=_count_fork)


class SpoolReader:
    """Reads the frames of one writer's folder. Any thread may call it."""

    def __init__(self, folder: Path, on_freed: Callable[[], None] = lambda: None) -> None:
        """on_freed is called after each mapping's death, wherever the garbage collector happens to
        run: it must not take a lock, only wake somebody who calls take_freed."""
        self.folder = folder
        self._on_freed = on_freed
        self._freed: deque[FreedFile] = deque()

    def map(self, name: str, size: int) -> mmap.mmap:
        """A fresh private mapping of the frame: writable; what is written stays in this process.

        When the mapping and every view of it are dead, the file appears in take_freed. A mapping is
        made for each message anew: pages once written would hide the next frame in the same file.
        Only for files whose writer is trusted not to shorten them (that would be a SIGBUS); use
        `read` otherwise. Raises SpoolFileError.
        """
        descriptor = self._open(name, size)
        try:
            mapping = mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE)
        except (OSError, ValueError) as error:  # no memory, no descriptor, or shortened just now
            raise SpoolFileError(
                f"{self.folder / name} of {size} bytes cannot be mapped: {error}"
            ) from error
        finally:
            os.close(descriptor)
        finalizer = weakref.finalize(
            mapping, _note_death, name, self._freed, self._on_freed, _Forks.count, os.getpid()
        )
        finalizer.atexit = False
        return mapping

    def read(self, name: str, size: int, offset: int = 0) -> mmap.mmap:
        """`size` bytes of the file in fresh memory of this process, page aligned and writable.

        Safe whatever the writer does to the file meanwhile. Raises SpoolFileError.
        """
        descriptor = self._open(name, offset + size)
        try:
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            with memoryview(memory) as view:
                done = 0
                while done < size:
                    with view[done : done + _READ_BYTES] as part:
                        count = os.preadv(descriptor, [part], offset + done)
                    if count == 0:
                        raise SpoolFileError(
                            f"{self.folder / name} ended after {offset + done} of {offset + size} "
                            "bytes: its writer shortened it"
                        )
                    done += count
        except OSError as error:
            raise SpoolFileError(
                f"{size} bytes of {self.folder / name} cannot be read: {error}"
            ) from error
        finally:
            os.close(descriptor)
        return memory

    def take_freed(self) -> list[FreedFile]:
        """The files freed since the last call; each is to be reported to the writer once."""
        taken: list[FreedFile] = []
        while self._freed:
            taken.append(self._freed.popleft())
        return taken

    def _open(self, name: str, size: int) -> int:
        path = self.folder / checked_name(name)
        if size <= 0:
            raise SpoolFileError(f"a frame of {size} bytes in {path} cannot be")
        # Not blocking: what lies there may be a fifo that somebody put in a file's place.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(path, flags)
        except OSError as error:
            raise SpoolFileError(f"{path} cannot be opened: {error.strerror}") from error
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or state.st_size < size:
            os.close(descriptor)
            raise SpoolFileError(
                f"{path} is not a plain file of at least {size} bytes "
                f"(mode {stat.filemode(state.st_mode)}, {state.st_size} bytes)"
            )
        return descriptor


def _note_death(
    name: str,
    freed: deque[FreedFile],
    on_freed: Callable[[], None],
    forks: int,
    pid: int,
) -> None:
    """Runs in any thread at any moment, also in a forked child: appends and wakes, nothing more."""
    if os.getpid() == pid:
        freed.append(FreedFile(name, recycle=_Forks.count == forks))
        on_freed()
