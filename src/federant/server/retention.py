"""Removes blobs that nothing needs any more: no job that goes on, no model, no event.

What a job's tasks carried and its sites' results go so, some time after its end; models that it has
kept stay, and so does what its events refer to.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from federant.server.blobs import BlobStore
from federant.server.state import Store

_log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 24 * 3600.0
"""Whoever was told that a blob is there has so long to say what it is for."""
_PARTIAL_SECONDS: Final = 7 * 24 * 3600.0
"""After so long without a byte, a cut transfer is not gone on with any more."""
_PAUSE_SECONDS: Final = 3600.0
_BATCH: Final = 100


class Retention:
    """Sweeps in a thread of its own, at the start and once an hour."""

    def __init__(
        self, store: Store, blobs: BlobStore, *, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._idle_seconds = idle_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, grace_seconds: float) -> None:
        """It ends what it is at; what is left is for the next start."""
        self._stopping.set()
        self._thread.join(grace_seconds)

    def sweep(self) -> int:
        """Remove what is not needed; how many blobs that were.

        May be killed at any point: a blob of which nothing is known any more is found by the next
        sweep, and a site that has sent it is asked for it again.
        """
        self._blobs.clean(_PARTIAL_SECONDS)
        # In this order: what is put or asked for from now on is not idle.
        idle = self._blobs.idle(self._idle_seconds)
        needed = self._store.needed_blobs()
        unneeded = [digest for digest in idle if digest not in needed]
        removed = 0
        for at in range(0, len(unneeded), _BATCH):
            if self._stopping.is_set():
                break
            batch = unneeded[at : at + _BATCH]
            # First this: nobody shall be said to have put what is not there.
            self._store.forget_blobs(batch)
            removed += sum(self._blobs.remove(each, self._idle_seconds) for each in batch)
        return removed

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                removed = self.sweep()
            except (OSError, SQLAlchemyError) as error:
                _log.warning("blobs cannot be removed error=%s", error)
            else:
                _log.info("blobs removed count=%d", removed)
            self._stopping.wait(_PAUSE_SECONDS)
