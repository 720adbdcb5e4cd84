"""Trying again, and what the log says of it; the waiting itself is the caller's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from federant.site.backoff import Backoff


class Retries:
    """A `Backoff` that tells the log once that something fails, and once that it works again.

    A server may be away for days: each further try is for those only who want to see all
    (DEBUG), until an error of another kind comes.
    """

    def __init__(
        self,
        log: logging.Logger,
        back: str = "the server answers again",
        *,
        level: int = logging.WARNING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`level` is that of the first failure; `back` says what works again."""
        self._log = log
        self._back = back
        self._level = level
        self._clock = clock
        self._backoff = Backoff()
        self._since: float | None = None
        self._told: type[Exception] | None = None

    def failed(self, error: Exception, text: str, *facts: object) -> float:
        """Seconds to wait now; the text and its facts say what failed, as the log has them."""
        seconds = self._backoff.failed()
        if self._since is None:
            self._since = self._clock()
        level = logging.DEBUG if type(error) is self._told else self._level
        self._told = type(error)
        self._log.log(level, f"{text} retry_seconds=%.1f error=%s", *facts, seconds, error)
        return seconds

    def worked(self) -> None:
        """It has just worked, perhaps not for the first time."""
        self._backoff.worked()
        self._told = None
        if self._since is not None:
            self._log.info("%s away_seconds=%.1f", self._back, self._clock() - self._since)
            self._since = None
