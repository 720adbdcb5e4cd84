"""Warns in the log of one's own certificate that ends soon; renewing it is somebody else's work."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from .certificate import WARN_BEFORE, CertificateFacts, read_certificate
from .errors import LinkConfigError
from .kit import Kit
from .renewal import marks_of

_log = logging.getLogger(__name__)

_EVERY_SECONDS: Final = 24 * 3600.0


class ExpiryWatch:
    """Warns once a day, from 30 days before the end on, whenever it is made to look.

    LinkConfigError if the kit's certificate cannot be read.
    """

    def __init__(self, kit: Kit, clock: Callable[[], float] = time.monotonic) -> None:
        self._marks = marks_of([kit.certificate])
        self._facts = read_certificate(kit.certificate)
        self._kit = kit
        self._clock = clock
        self._next = clock()

    def facts(self) -> CertificateFacts:
        """Of the certificate that is in the kit now; the one before, if that cannot be read."""
        marks = marks_of([self._kit.certificate])
        if marks != self._marks:
            with suppress(LinkConfigError):
                self._facts = read_certificate(self._kit.certificate)
                self._marks = marks
        return self._facts

    def look(self) -> None:
        """Warn if it is time to; costs nothing if it is not."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        facts = self.facts()
        left = facts.remaining()
        if left < WARN_BEFORE:
            _log.warning(
                "the certificate of %s %s: serial=%s until=%s kit=%s; renew it (federant provision "
                "renew), and copy the kit here: it is taken up without a restart",
                self._kit.identity.title,
                "has expired" if left <= timedelta(0) else f"ends in {left.days} days",
                facts.serial,
                f"{facts.not_after:%Y-%m-%d}",
                self._kit.folder,
            )
