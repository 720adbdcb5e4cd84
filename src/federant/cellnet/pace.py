"""How often something may be done: a few times at once, then now and then."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Not thread-safe."""

    def __init__(
        self, at_once: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """So many times at once, and over time once in so many seconds."""
        self._ahead = (at_once - 1) * seconds
        self._seconds = seconds
        self._clock = clock
        self._paid_until = clock()

    def take(self) -> bool:
        """Whether it may be done now; that counts as once."""
        if self.wait_seconds:
            return False
        self._paid_until = max(self._paid_until, self._clock()) + self._seconds
        return True

    @property
    def wait_seconds(self) -> float:
        """Until it may be done again; 0 if it may."""
        return max(self._paid_until - self._ahead - self._clock(), 0.0)
