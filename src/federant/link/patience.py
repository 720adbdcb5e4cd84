"""How long a call may wait at the server, learned from what stands between: a proxy, a firewall.

Many of those close a connection on which nothing has moved for a while, and do not say for how
long.  A call that is to wait longer would be cut each time, and its caller would wait in vain.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from .errors import LinkUnavailable

_SHORTEST_SECONDS: Final = 0.5
"""What is cut sooner was not cut for its silence."""
_SHRINK: Final = 0.7
_GROW: Final = 1.5
_TRIES: Final = 20
"""After so many shortened waits that were not cut a longer one is tried again: what stood between
may have gone."""
_LONGEST_SECONDS: Final = 60.0
"""A limit beyond this one is none."""


class Patience:
    """Shortens the waits of calls that were cut, and lets them grow again.  Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._limit = math.inf
        self._uncut = 0

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[float]:
        """Round a call that is to wait; gives how long it had better wait."""
        allowed = min(seconds, self._limit)
        began = self._clock()
        try:
            yield allowed
        except LinkUnavailable:
            waited = self._clock() - began
            if _SHORTEST_SECONDS <= waited < allowed:
                with self._lock:
                    self._limit = min(self._limit, waited * _SHRINK)
                    self._uncut = 0
            raise
        if allowed < seconds and self._clock() - began >= allowed:
            self._was_let_be()

    def _was_let_be(self) -> None:
        with self._lock:
            self._uncut += 1
            if self._uncut >= _TRIES:
                self._uncut = 0
                grown = self._limit * _GROW
                self._limit = grown if grown < _LONGEST_SECONDS else math.inf
