"""The booster in a frame on the disk: too large a one is not even looked at."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

from federant.codec import decode
from federant.exchange import DXO, Shareable, from_shareable
from federant.server.boosters.booster import Booster, booster_of
from federant.server.boosters.errors import BadBoosterError
from federant.server.boosters.limits import BoosterLimits

FRAME_BYTES: Final = 1 << 20
"""What a frame may have beside the text of a booster."""


def booster_in(path: Path, limits: BoosterLimits, *, rounds: int | None = None) -> Booster:
    """The booster in a frame that is known to hold a DXO; BadBoosterError if there is none."""
    size = path.stat().st_size
    if size > limits.text_bytes + FRAME_BYTES:
        raise BadBoosterError(
            f"the result has {size} bytes, and a booster may have {limits.text_bytes}; return only "
            "the trees that this task added, or smaller ones"
        )
    with path.open("rb") as file:
        frame = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    body = decode(memoryview(frame)).body
    found = from_shareable(body) if isinstance(body, Shareable) else body
    if not isinstance(found, DXO):
        raise BadBoosterError(f"the result is a {type(found).__name__} and no model")
    return booster_of(found, limits, rounds=rounds)
