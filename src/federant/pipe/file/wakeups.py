"""Wakeups: the kernel's word that something has come into a folder; polling goes on all the same.

It comes through inotify, if the package inotify_simple is there (the extra `file`). Of writers on
other hosts the kernel knows nothing.
"""

import contextlib
import logging
import os
import select
from pathlib import Path
from typing import Any

from federant.pipe.turns import Interest

logger = logging.getLogger(__name__)

_READ_BYTES = 1 << 16


class Wakeups:
    """A descriptor that becomes readable when a file appears, or is closed, in a watched folder.

    There is none before `open`, after `close`, and where the kernel has no such word.
    """

    def __init__(self) -> None:
        self._inotify: Any = None
        self._flags: Any = None

    def open(self) -> None:
        try:
            # Imported by whoever opens such a pipe, not by everybody who imports federant.
            import inotify_simple
        except ImportError:  # an optional package, and only for Linux
            return
        self._flags = inotify_simple.flags
        try:
            self._inotify = inotify_simple.INotify(nonblocking=True)
        except OSError as error:  # each user has so many, and sandboxes have none
            logger.info("no inotify, the folder is polled error=%s", error)

    def interest(self, check_interval: float) -> Interest:
        """What to poll for: a look is due after so many seconds all the same."""
        if self._inotify is None:
            return Interest((), check_interval)
        return Interest([(int(self._inotify.fileno()), int(select.POLLIN))], check_interval)

    def watch(self, folder: Path, *, leaving: bool = False) -> None:
        """From now on; ends with the folder. `leaving`: also when a file goes."""
        if self._inotify is None:
            return
        flags = self._flags
        mask = flags.CREATE | flags.MOVED_TO | flags.CLOSE_WRITE | flags.DELETE_SELF
        if leaving:
            mask |= flags.MOVED_FROM | flags.DELETE
        try:
            self._inotify.add_watch(folder, mask)
        except OSError as error:
            logger.info("not watched, but polled folder=%s error=%s", folder, error)

    def drain(self) -> None:
        if self._inotify is not None:
            with contextlib.suppress(BlockingIOError):
                while len(os.read(self._inotify.fileno(), _READ_BYTES)) == _READ_BYTES:
                    pass

    def close(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
