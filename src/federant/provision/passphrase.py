"""What the key of a federation's authority is locked with, if its keeper wants that."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from .errors import ProvisionError

VARIABLE: Final = "FEDERANT_CA_PASSPHRASE"
FROM_FILE: Final = "FEDERANT_CA_PASSPHRASE_FILE"
"""Variables of the environment; never an argument, which everybody on the machine can read."""


def passphrase() -> bytes | None:
    """From the environment, or the first line of the file that it names; None if there is none."""
    named = os.environ.get(FROM_FILE)
    if not named:
        return os.environ.get(VARIABLE, "").encode() or None
    try:
        _require_private(Path(named))
        line = Path(named).read_bytes().partition(b"\n")[0].rstrip(b"\r")
    except OSError as error:
        raise ProvisionError(
            f"{named}, which {FROM_FILE} names, cannot be read: {error.strerror}"
        ) from error
    if not line:
        raise ProvisionError(f"{named}, which {FROM_FILE} names, has an empty first line")
    return line


def _require_private(file: Path) -> None:
    found = file.stat()
    # As a key's, the group may read it; what is no file on a disk (a pipe, say) nobody else can.
    if stat.S_ISREG(found.st_mode) and found.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise ProvisionError(
            f"{file}, which {FROM_FILE} names, can be read or changed by others (its permissions "
            f"are {stat.S_IMODE(found.st_mode):o}); run: chmod 600 {file}"
        )
