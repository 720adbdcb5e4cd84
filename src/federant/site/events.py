"""Metrics and news of a job on their way to the server: batched, repeated, and never waited for."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable

from federant.link import LinkClient, LinkError, LinkRefused
from federant.link.messages import Event
from federant.site.backoff import Backoff
from federant.site.workers import Worker

_log = logging.getLogger(__name__)

_KEPT = 50_000
_BATCH = 500
_TEXT_CHARS = 20_000

STATUS = "STATUS"
"""The kind of an event that tells how a job stands at this site."""


class EventSender:
    """A bounded queue and one thread that empties it; thread-safe, and no call waits.

    While one batch is under way the next one gathers, so a fast trainer costs few calls. The
    oldest events are dropped when the server is away for too long.
    """

    def __init__(
        self, link: LinkClient, job_id: str, on_failure: Callable[[BaseException], None]
    ) -> None:
        """`on_failure(error)` is called if events can no longer be sent from this process."""
        self._link = link
        self._job_id = job_id
        self._changed = threading.Condition()
        self._waiting: deque[Event] = deque()
        self._under_way = 0
        self._dropped = 0
        self._stopped = False
        self._worker = Worker("site-events", self._run, on_failure)

    def start(self) -> None:
        self._worker.start()

    def add(self, events: Iterable[Event]) -> None:
        with self._changed:
            self._waiting.extend(events)
            while len(self._waiting) > _KEPT:
                self._waiting.popleft()
                if not self._dropped:
                    _log.warning("events are dropped: the server is away, %d wait", _KEPT)
                self._dropped += 1
            self._changed.notify_all()

    def tell(self, state: str, text: str) -> None:
        """News of the job at this site, for a person who watches it."""
        _log.info("status state=%s text=%s", state, text)
        event = Event(
            id=uuid.uuid4().hex,
            kind=STATUS,
            tag=state,
            text=text[-_TEXT_CHARS:],
            time=time.time(),
        )
        self.add([event])

    def flush(self, timeout: float) -> bool:
        """Wait until all that was added is sent; False if `timeout` seconds were not enough."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and not self._under_way, timeout
            )

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        backoff = Backoff()
        while batch := self._next_batch():
            while not self._send(batch):
                with self._changed:
                    if self._changed.wait_for(lambda: self._stopped, backoff.failed()):
                        return
            backoff.worked()

    def _next_batch(self) -> list[Event]:
        """What waits, at most so much at once; empty when the sender was stopped."""
        with self._changed:
            self._under_way = 0
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._stopped)
            if self._stopped:
                return []
            self._under_way = min(_BATCH, len(self._waiting))
            return [self._waiting.popleft() for _ in range(self._under_way)]

    def _send(self, batch: list[Event]) -> bool:
        """Whether the batch is done with: the server has it, or will never take it."""
        try:
            self._link.add_events(self._job_id, batch)
        except (LinkRefused, ValueError) as error:  # ValueError: they cannot become a message
            _log.warning("events refused count=%d error=%s", len(batch), error)
        except LinkError as error:
            _log.info("events not sent yet count=%d error=%s", len(batch), error)
            return False
        return True
