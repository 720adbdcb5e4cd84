"""What the key of a federation's authority is locked with, if its keeper wants that."""

from __future__ import annotations

import os
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
        line = Path(named).read_bytes().partition(b"\n")[0].rstrip(b"\r")
    except OSError as error:
        raise ProvisionError(
            f"{named}, which {FROM_FILE} names, cannot be read: {error.strerror}"
        ) from error
    if not line:
        raise ProvisionError(f"{named}, which {FROM_FILE} names, has an empty first line")
    return line
