"""Warns in the log of one's own certificate that ends soon; renewing it is somebody else's work."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from .certificate import WARN_BEFORE, read_certificate
from .kit import Kit

_log = logging.getLogger(__name__)

_EVERY_SECONDS: Final = 24 * 3600.0


class ExpiryWatch:
    """Warns once a day, from 30 days before the end on, whenever it is made to look.

    LinkConfigError if the kit's certificate cannot be read.
    """

    def __init__(self, kit: Kit, clock: Callable[[], float] = time.monotonic) -> None:
        self.facts = read_certificate(kit.certificate)
        """Of the certificate with which the process began."""
        self._kit = kit
        self._clock = clock
        self._next = clock()

    def look(self) -> None:
        """Warn if it is time to; costs nothing if it is not."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        left = self.facts.remaining()
        if left < WARN_BEFORE:
            _log.warning(
                "the certificate of %s %s: serial=%s until=%s kit=%s; renew it (federant provision "
                "renew), copy the kit here, and start this again",
                self._kit.identity.title,
                "has expired" if left <= timedelta(0) else f"ends in {left.days} days",
                self.facts.serial,
                f"{self.facts.not_after:%Y-%m-%d}",
                self._kit.folder,
            )
