"""Whether a process still lives, without polling and across restarts: a lock that dies with it.

The kernel drops a file lock when its last holder is gone, however it went. A parent locks the
file before it starts the child and lets the child inherit the open file, so there is no moment
at which a living child is not seen; anyone may later ask, or wait, by the file's path alone.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def hold(path: Path) -> int | None:
    """Lock `path` for this process and return the open file, or None if a living process has it.

    The lock lasts until every copy of the returned descriptor is closed, also those that
    children inherited.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock on `path`; False if the file is not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def wait_until_free(path: Path) -> None:
    """Block until no living process holds the lock on `path`; at once if the file is not there.

    Cannot be interrupted: call it in a daemon thread.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)
