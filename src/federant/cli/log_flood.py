"""Keeps whoever is denied over and over from filling the log; what is denied is said elsewhere."""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

_log = logging.getLogger("federant.denials")

WINDOW_SECONDS: Final = 60.0
MOST_LINES: Final = 5
"""Of one kind, within a window; the first of each kind is always among them."""
MOST_KINDS: Final = 100
"""Within a window: a caller may make up as many as it likes."""
_BEGIN: Final = "denied"
_OF_ONE_CALL: Final = re.compile(r"client=\S+|/[^\s']*|\d+")
"""What tells one denial from another of the same kind: from where, which path, numbers."""


def _later(seconds: float, tell: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, tell)
    timer.daemon = True
    timer.start()


class DenialFlood(logging.Filter):
    """For a handler: of the lines about who was denied, so many of a kind a minute.

    What was left out is counted, and the count is a line of its own when the minute is over.
    ``later(seconds, tell)`` calls ``tell()`` after so long.
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], None] = _later) -> None:
        super().__init__()
        self._later = later
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        if not str(record.msg).startswith(_BEGIN):
            return True
        kind = _OF_ONE_CALL.sub("", record.getMessage())[:200]
        with self._lock:
            if not self._seen:
                self._later(WINDOW_SECONDS, self._tell)
            if kind not in self._seen and len(self._seen) >= MOST_KINDS:
                kind = ""  # whatever else there is
            self._seen[kind] += 1
            return kind != "" and self._seen[kind] <= MOST_LINES

    def _tell(self) -> None:
        with self._lock:
            seen, self._seen = self._seen, Counter()
        left_out = {
            kind: count - (MOST_LINES if kind else 0)
            for kind, count in seen.items()
            if count > MOST_LINES or not kind
        }
        if left_out:
            _log.warning(
                "not logged one by one: denials=%d kinds=%d seconds=%.0f",
                sum(left_out.values()), len(left_out), WINDOW_SECONDS,
            )  # fmt: skip
