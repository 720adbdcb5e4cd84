"""Removes what is kept no more: a job that is deleted, and blobs that nothing needs.

A blob is needed by a job that goes on, a model, an event.  What a job's tasks carried and its
sites' results go so, some time after its end; models that it has kept stay until it is deleted, and
so does what its events refer to.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from federant.server.blobs import BlobNotFoundError, BlobStore
from federant.server.models_kept import superfluous_rounds
from federant.server.state import Store

_log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 24 * 3600.0
"""Whoever was told that a blob is there has so long to say what it is for."""
_SETTLED_SECONDS: Final = 600.0
"""Of a job that is deleted, what has lain so long goes at once: it was its job's only."""
_PARTIAL_SECONDS: Final = 7 * 24 * 3600.0
"""After so long without a byte, a cut transfer is not gone on with any more."""
_PAUSE_SECONDS: Final = 3600.0
_BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Freed:
    """What a job that was deleted had, and how much of the disk that is."""

    models: int
    events: int
    bytes: int
    bytes_later: int
    """Of blobs so young that they are left to a sweep."""


class Retention:
    """Sweeps in a thread of its own, at the start and once an hour; deletes when it is asked to.

    Thread-safe.
    """

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        *,
        idle_seconds: float = IDLE_SECONDS,
        most_models: int | None = None,
    ) -> None:
        """``most_models`` of each job that has ended are kept, and the best; None: all."""
        self._most_models = most_models
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

    def delete_job(self, job_id: str) -> Freed:
        """Delete a job that has ended, and the blobs that only it needed.

        From the first commit on the job is not there any more.  May be killed at any point: what
        is left then is found by the next sweep.

        UnknownRowError for a job that is not there, ConflictError for one that has not ended.
        """
        deleted = self._store.delete_job(job_id)
        while self._store.purge_some(job_id):
            pass
        unneeded = self._store.forget_unneeded_blobs(deleted.blobs)
        settled = set(self._blobs.idle(_SETTLED_SECONDS))
        freed = later = 0
        for digest in unneeded:
            size = self._size(digest)
            if digest in settled and self._blobs.remove(digest, _SETTLED_SECONDS):
                freed += size
            else:
                later += size
        return Freed(deleted.models, deleted.events, freed, later)

    def sweep(self) -> int:
        """Remove what is not needed; how many blobs that were.

        May be killed at any point: a blob of which nothing is known any more is found by the next
        sweep, and a site that has sent it is asked for it again.
        """
        for job_id in self._store.unpurged_jobs():
            while self._store.purge_some(job_id):
                if self._stopping.is_set():
                    return 0
        if self._most_models is not None:
            self._forget_models(self._most_models)
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

    def _forget_models(self, most: int) -> None:
        """Only of jobs that have ended: one that goes on may ask for any of its own."""
        for job in self._store.jobs():
            if job.state.ended and not self._stopping.is_set():
                rounds = superfluous_rounds(self._store.models(job.id), most)
                for at in range(0, len(rounds), _BATCH):
                    self._store.forget_models(job.id, rounds[at : at + _BATCH])
                if rounds:
                    _log.info("models removed job=%s count=%d", job.id, len(rounds))

    def _size(self, digest: str) -> int:
        """In bytes, without asking for the blob: who asks needs it."""
        try:
            return self._blobs.path(digest).stat().st_size
        except (BlobNotFoundError, FileNotFoundError):
            return 0

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                removed = self.sweep()
            except (OSError, SQLAlchemyError) as error:
                _log.warning("blobs cannot be removed error=%s", error)
            else:
                _log.info("blobs removed count=%d", removed)
            self._stopping.wait(_PAUSE_SECONDS)
