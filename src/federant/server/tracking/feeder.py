"""Feeds one sink from the store, in a thread of its own: at its own pace, and again after failures.

How far the sink is stands in the store, so that a server which is started again goes on there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from federant.link.messages import SinkName
from federant.server.state import JobRow, SinkCursor, Store
from federant.server.wakeups import EVENTS_TOPIC, Wakeups

from .base import Sink, logged, words_of

_log = logging.getLogger(__name__)

_BATCH: Final = 1000
_GATHER_SECONDS: Final = 0.2
"""A sink is given what has come in so long a time at once, and not one event after the other."""
_FIRST_RETRY_SECONDS: Final = 0.5
_LONGEST_RETRY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 30.0
"""How often it is looked whether there is something to do, if nobody says so."""
_LATE_SECONDS: Final = 60.0
"""How long after a job's end a site that has not said goodbye may still tell of metrics."""
_ERROR_CHARS: Final = 500


class Feeder:
    """Gives each job's events to the sink in their order, and notes how far it has come.

    A job with which the sink fails waits, longer each time, and holds no other up.
    """

    def __init__(
        self, name: SinkName, open_sink: Callable[[], Sink], store: Store, wakeups: Wakeups
    ) -> None:
        self._name = name
        self._open_sink = open_sink
        self._store = store
        self._wakeups = wakeups
        self._sink: Sink | None = None
        self._waits: dict[str, float] = {}  # by job, the seconds it was last made to wait
        self._next_try: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"federant-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if not self._stopping.is_set() and (sink := self._sink) is not None:
            sink.end_soon()
        self._stopping.set()
        self._wakeups.notify(EVENTS_TOPIC)

    def join(self, timeout: float) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while True:
                version = self._wakeups.version(EVENTS_TOPIC)
                if (
                    self._stopping.is_set()
                ):  # looked at after the version, as all that is waited for
                    return
                try:
                    self._feed_all()
                except SQLAlchemyError as error:
                    _log.warning("the store cannot be read sink=%s error=%s", self._name, error)
                    self._stopping.wait(_FIRST_RETRY_SECONDS)
                if self._wakeups.closed:
                    self._stopping.wait(self._seconds())
                elif self._wakeups.wait_blocking(EVENTS_TOPIC, version, self._seconds()):
                    self._stopping.wait(_GATHER_SECONDS)
        finally:
            if self._sink is not None:
                self._sink.close()

    def _seconds(self) -> float:
        """Until something is due even if nothing happens."""
        now = time.monotonic()
        return max(0.0, min([_LOOK_SECONDS, *(due - now for due in self._next_try.values())]))

    def _feed_all(self) -> None:
        for job, cursor in self._store.open_sinks(self._name):
            if self._stopping.is_set():
                return
            if self._next_try.get(job.id, 0.0) <= time.monotonic():
                self._feed(job, cursor)

    def _feed(self, job: JobRow, cursor: SinkCursor) -> None:
        """Bring the sink up to date with a job, or make it wait."""
        try:
            while not self._stopping.is_set():
                # Looked at first: what comes before the end is then never missed.
                over = self._is_over(job)
                rows = self._store.events(job.id, cursor.seq, _BATCH)
                if not rows and not over:
                    self._forget_failures(job)
                    break
                if self._sink is None:
                    self._sink = self._open_sink()
                if rows:
                    place = self._sink.write(job, logged(rows), cursor.place)
                    cursor = replace(cursor, seq=rows[-1].seq, place=place, error="")
                else:
                    self._sink.finish(job, cursor.place)
                    cursor = replace(cursor, done=True, error="")
                self._store.save_sink_cursor(cursor)
                self._forget_failures(job)
                if cursor.done:
                    break
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - a sink may fail as its library likes
            self._put_off(job, cursor, error)

    def _is_over(self, job: JobRow) -> bool:
        """Whether the job has ended and nobody will tell of it any more."""
        if not job.state.ended:
            return False
        late = job.ended is not None and time.time() - job.ended > _LATE_SECONDS
        return late or all(part.state.gone for part in self._store.job_sites(job.id))

    def _forget_failures(self, job: JobRow) -> None:
        """There is nothing that waits to be tried again."""
        self._waits.pop(job.id, None)
        self._next_try.pop(job.id, None)

    def _put_off(self, job: JobRow, cursor: SinkCursor, error: Exception) -> None:
        before = self._waits.get(job.id)
        seconds = _FIRST_RETRY_SECONDS if before is None else before * 2
        seconds = self._waits[job.id] = min(seconds, _LONGEST_RETRY_SECONDS)
        self._next_try[job.id] = time.monotonic() + seconds
        text = words_of(error)[:_ERROR_CHARS]
        tell = _log.warning if before is None else _log.info
        tell(
            "sink fails sink=%s job=%s retry_seconds=%.1f error=%s",
            *(self._name, job.id, seconds, text),
        )
        if text != cursor.error:
            self._store.save_sink_cursor(replace(cursor, error=text))
