"""What pipes and handlers ask of the numbers and names that they are given."""

import math
import re
from typing import Final

LONGEST_ID: Final = 1000
"""Characters of a message's id."""

_CHANNEL: Final = re.compile(r"[A-Za-z0-9_]{1,64}")


def check_number(
    name: str, value: float, *, above: float | None = None, least: float | None = None
) -> None:
    """TypeError unless it is an int or a float, ValueError unless it is finite and large enough."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    allowed = f"above {above:g}" if above is not None else f"at least {least or 0:g}"
    good = value > above if above is not None else value >= (least or 0)
    if not good or not math.isfinite(value):
        raise ValueError(f"{name} must be {allowed} and finite, got {value}")


def checked_channel(name: str) -> str:
    """The name of a channel; ValueError if it can be none."""
    if not _CHANNEL.fullmatch(name):
        raise ValueError(f"a channel's name is 1 to 64 of a-z A-Z 0-9 _, got {name!r}")
    return name


def check_id(name: str, value: object) -> None:
    """TypeError if the value cannot travel as a message's id."""
    if isinstance(value, str):
        fits = len(value) <= LONGEST_ID
    else:
        fits = value is None or (isinstance(value, int) and -(1 << 63) <= value < 1 << 63)
    if not fits:
        raise TypeError(
            f"{name} must be a str of at most {LONGEST_ID} characters or an int of 64 bits, "
            f"got {value!r:.100}"
        )
