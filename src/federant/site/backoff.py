"""How long to wait before trying again; the waiting itself is the caller's."""

from __future__ import annotations

import random

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 30.0


class Backoff:
    """Waits that double with each failure, spread at random so that sites do not come in step."""

    def __init__(self, first: float = _FIRST_SECONDS, longest: float = _LONGEST_SECONDS) -> None:
        self._first = first
        self._longest = longest
        self._next = first
        self._random = random.SystemRandom()

    def failed(self) -> float:
        """Seconds to wait now."""
        seconds = self._next * self._random.uniform(0.5, 1.0)
        self._next = min(self._next * 2, self._longest)
        return seconds

    def worked(self) -> None:
        self._next = self._first
