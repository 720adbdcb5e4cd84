"""FakeClock: time that passes only when a test says so."""

import math


class FakeClock:
    """Stands for time.monotonic where a clock can be given: `clock()` is the time in seconds."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Lets seconds pass; they cannot be negative."""
        if not (seconds >= 0 and math.isfinite(seconds)):
            raise ValueError(f"a clock goes forward: seconds must be 0 or more, got {seconds}")
        self._now += seconds
