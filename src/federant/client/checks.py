"""Checks of arguments; an error names the parameter, what is allowed, and the value that was given.

Nothing here knows of agents, so that whoever else takes such arguments can share it.
"""

from __future__ import annotations

import math
import re
from types import UnionType

from federant.exchange.names import RETURN_CODE_LENGTH

_CHANNEL = re.compile(r"[a-zA-Z0-9_]{1,64}")


def check_type(name: str, value: object, kind: type | UnionType, allowed: str) -> None:
    """TypeError unless the value is of that kind, which ``allowed`` names in words."""
    if not isinstance(value, kind):
        raise _wrong_type(name, value, allowed)


def check_number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    whole: bool = False,
    or_none: bool = False,
) -> None:
    """TypeError or ValueError unless it is finite, within the bound, and an int if ``whole``."""
    if value is None and or_none:
        return
    allowed = "an int" if whole else "a finite number"
    if above is not None:
        allowed += f" above {above:g}"
    if least is not None:
        allowed += f" of at least {least:g}"
    if or_none:
        allowed += ", or None"
    number = None if isinstance(value, bool) else value
    if not isinstance(number, int if whole else int | float):
        raise _wrong_type(name, value, allowed)
    low = (above is not None and number <= above) or (least is not None and number < least)
    if low or not _is_finite(number):
        raise ValueError(f"{name} must be {allowed}, got {value}")


def check_channel(name: str, value: object) -> None:
    """TypeError or ValueError unless every pipe can have a channel of that name."""
    allowed = "1 to 64 of the characters a-z A-Z 0-9 _"
    check_type(name, value, str, allowed)
    if not _CHANNEL.fullmatch(str(value)):
        raise ValueError(f"{name} must be {allowed}, got {value!r:.100}")


def check_return_code(name: str, value: object) -> None:
    """TypeError or ValueError unless the site and the server take it."""
    check_type(name, value, str, "a str such as RC.OK")
    if not 0 < len(str(value)) <= RETURN_CODE_LENGTH:
        raise ValueError(
            f"{name} must have 1 to {RETURN_CODE_LENGTH} characters (RETURN_CODE_LENGTH), "
            f"got {len(str(value))}: {value!r:.100}"
        )


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an int that no float can hold
        return False


def _wrong_type(name: str, value: object, allowed: str) -> TypeError:
    return TypeError(f"{name} must be {allowed}, got {value!r:.100} of type {type(value).__name__}")
