"""Spool folders: private, owned by a lock, taken down after their owner's death; no frames here.

Every writer has a folder of its own and holds a lock (flock) on it for life. The kernel lets go of
the lock when the owner dies, so whoever can lock a folder knows that nobody writes there any more.
"""

import contextlib
import fcntl
import logging
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

from federant.spool.errors import SpoolFileError

logger = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")


def checked_name(name: str) -> str:
    """The name, if it can only mean an entry of the folder that it is looked up in.

    Raises SpoolFileError otherwise: names come from the other end and may be hostile.
    """
    if not _NAME.fullmatch(name):
        raise SpoolFileError(f"{name!r} is not the name of a spool file")
    return name


def open_folder(folder: Path) -> int:
    """A descriptor of an existing folder; a symbolic link is refused. Raises OSError."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def claim(folder: Path) -> int:
    """Makes the folder (mode 0700) and locks it: the descriptor owns it until it is closed.

    Raises FileExistsError if somebody owns it already, OSError if it cannot be made.
    """
    while True:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # taken down under us: make it again
            descriptor = open_folder(folder)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise FileExistsError(f"the spool folder {folder} has a living owner") from None
            if os.fstat(descriptor).st_nlink:
                return descriptor
            os.close(descriptor)


def reclaim(folder: Path, keep: Collection[str] = ()) -> bool:
    """Takes away what a dead owner left, but for the names in `keep`; True if nothing is left.

    The folder goes too once it is empty. A living owner's folder is left alone (False), and so is
    what is no folder, or only a link to one. Files are only ever unlinked here, never used again:
    a surviving reader may still have them mapped. Nothing that lies there is an error: what cannot
    be taken away is logged and stays.
    """
    try:
        descriptor = open_folder(folder)
    except FileNotFoundError:
        return True
    except OSError as error:
        logger.warning("no spool folder, left alone path=%s error=%s", folder, error)
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        names = {entry.name for entry in folder.iterdir()}
        left = names.intersection(keep)
        left.update(name for name in names - left if not _taken_away(folder / name))
        if left:
            return False
        folder.rmdir()
    except BlockingIOError:
        return False
    except OSError as error:
        logger.warning("spool folder not taken down path=%s error=%s", folder, error)
        return False
    finally:
        os.close(descriptor)
    return True


def _taken_away(path: Path) -> bool:
    """Whether the entry is gone; of a link only the link itself goes."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        logger.warning("not taken away path=%s error=%s", path, error)
        return False
    return True
