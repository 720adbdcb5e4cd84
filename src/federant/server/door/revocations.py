"""Which certificates are good no more, in memory, and the end of the connections made with them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from federant.server.state import RevocationRow, Store

_log = logging.getLogger(__name__)


def _nobody(_serial: str) -> None:
    """Nobody is connected."""


class Revocations:
    """What the store knows of revoked certificates, at hand for each call.  Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._serials = {row.serial for row in store.revocations()}
        self.cut: Callable[[str], None] = _nobody
        """Closes the live connections of a serial number; set by who has them."""

    def is_revoked(self, serial: str) -> bool:
        return serial in self._serials

    def add(self, serial: str, identity: str, reason: str, by: str) -> RevocationRow:
        """Revoke a certificate for good, and cut off at once who is connected with it.

        Doing it again changes nothing but that it cuts again.
        """
        row = self._store.revoke(serial, identity, reason, by)
        # Known before the connections go: each call on a new one finds it.
        self._serials.add(serial)
        _log.warning("revoked serial=%s of=%r by=%r reason=%r", serial, identity, by, reason[:500])
        self.cut(serial)
        return row

    def every(self) -> list[RevocationRow]:
        """All of them, the oldest first."""
        return self._store.revocations()
