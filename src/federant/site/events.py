"""Metrics and news of a job on their way to the server: batched, repeated, and never waited for."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable
from enum import Enum, auto
from http import HTTPStatus

from federant.link import BlobRef, LinkClient, LinkError, LinkRefused, blob_ref
from federant.link.messages import MAX_TEXT_CHARS, ErrorCode, Event, EventKind
from federant.site.metrics import dropped_event
from federant.site.retries import Retries
from federant.site.workers import Worker

_log = logging.getLogger(__name__)

_KEPT = 50_000
_KEPT_BYTES = 256 << 20
"""What images and long texts that wait may take in memory."""
_BATCH = 500
_OF_ONE = {ErrorCode.BAD_REQUEST, ErrorCode.BLOB_MISSING, ErrorCode.TOO_LARGE}
"""Why a server refuses a batch of which a part may be in order."""


class _Sent(Enum):
    DONE = auto()
    """The server has the events, or will never take them."""
    LATER = auto()
    """Nobody knows yet: they are to be sent again."""
    HALVE = auto()
    """Some of them are refused, and others perhaps not."""


class EventSender:
    """A bounded queue and one thread that empties it; thread-safe, and no call waits.

    While one batch is under way the next one gathers, so a fast trainer costs few calls. The
    oldest events are dropped when the server is away for too long; it is told how many.
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
        self._blobs: dict[str, bytes] = {}  # of the events that wait or are under way, by digest
        self._uses: Counter[str] = Counter()  # how many of these events refer to each
        self._blob_bytes = 0
        self._dropped = 0
        self._untold = 0  # of those dropped, what the server does not know
        self._stopped = False
        self._retries = Retries(_log, "events are sent again", level=logging.INFO)
        self._pause_seconds = 0.0
        self._worker = Worker("site-events", self._run, on_failure)

    def start(self) -> None:
        self._worker.start()

    def keep(self, data: bytes) -> BlobRef | None:
        """Hold what one event that is added next refers to; None if there is no room for it."""
        blob = blob_ref([data])
        with self._changed:
            if blob.digest not in self._blobs:
                if self._blob_bytes + blob.size > _KEPT_BYTES:
                    return None
                self._blobs[blob.digest] = data
                self._blob_bytes += blob.size
            self._uses[blob.digest] += 1
        return blob

    def add(self, events: Iterable[Event]) -> None:
        with self._changed:
            self._waiting.extend(events)
            while len(self._waiting) > _KEPT:
                self._drop(self._waiting.popleft())
            self._changed.notify_all()

    def tell(self, state: str, text: str) -> None:
        """News of the job at this site, for a person who watches it."""
        _log.info("status state=%s text=%s", state, text)
        event = Event(
            id=uuid.uuid4().hex,
            kind=EventKind.STATUS,
            tag=state,
            text=text[-MAX_TEXT_CHARS:],
            time=time.time(),
        )
        self.add([event])

    def flush(self, timeout: float) -> bool:
        """Wait until all that was added is sent; False if `timeout` seconds were not enough."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not (self._waiting or self._under_way or self._untold), timeout
            )

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        while batch := self._next_batch():
            parts = [batch]  # the next one last
            while parts:
                part = parts.pop()
                sent = self._send(part)
                if sent is _Sent.LATER:
                    parts.append(part)
                    with self._changed:
                        if self._changed.wait_for(lambda: self._stopped, self._pause_seconds):
                            return
                    continue
                self._retries.worked()
                if sent is _Sent.HALVE:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]

    def _next_batch(self) -> list[Event]:
        """What waits, at most so much at once; empty when the sender was stopped."""
        with self._changed:
            self._under_way = 0
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._untold or self._stopped)
            if self._stopped:
                return []
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            if self._untold:
                why = "the server was away for too long, or did not take them"
                batch.insert(0, dropped_event(uuid.uuid4().hex, "site", self._untold, why))
                self._untold = 0
            self._under_way = len(batch)
            return batch

    def _send(self, part: list[Event]) -> _Sent:
        try:
            self._link.add_events(self._job_id, [self._with_blob(event) for event in part])
        except (LinkRefused, ValueError) as error:  # ValueError: they cannot become a message
            if isinstance(error, LinkRefused) and error.of_the_caller:
                return self._later(part, error)
            if len(part) > 1 and _is_of_one(error):
                return _Sent.HALVE
            _log.warning(
                "events refused count=%d first=%r error=%s",
                len(part), part[0].tag or part[0].kind, error,
            )  # fmt: skip
            self._give_up(part)
        except LinkError as error:
            return self._later(part, error)
        else:
            with self._changed:
                for event in part:
                    self._let_go(event)
        return _Sent.DONE

    def _later(self, part: list[Event], error: LinkError) -> _Sent:
        text = "events not sent yet count=%d"
        self._pause_seconds = self._retries.failed(error, text, len(part))
        return _Sent.LATER

    def _with_blob(self, event: Event) -> Event:
        """The event, after what it refers to was put; one whose blob is refused goes without."""
        if event.blob is None:
            return event
        with self._changed:
            data = self._blobs.get(event.blob.digest)
        if data is None:  # it was never kept here: the server may have it, or refuses the event
            return event
        try:
            self._link.put_blob(event.blob, lambda offset: [memoryview(data)[offset:]])
        except LinkRefused as error:
            if error.of_the_caller:
                raise
            _log.warning("blob of an event refused tag=%s error=%s", event.tag, error)
            text = f"{event.text[: MAX_TEXT_CHARS // 2]}, dropped: the server refused it: {error}"
            return event.model_copy(update={"blob": None, "text": text[:MAX_TEXT_CHARS]})
        return event

    def _give_up(self, part: list[Event]) -> None:
        """Count events that were refused; if that is refused as well, it is left at that."""
        with self._changed:
            if any(event.kind != EventKind.DROPPED for event in part):
                for event in part:
                    self._drop(event)

    def _drop(self, event: Event) -> None:
        if not self._dropped:
            _log.warning("events are dropped: the server is away, or refuses them")
        count = 1
        if event.kind == EventKind.DROPPED and event.value is not None:
            count = int(event.value)
        self._dropped += count
        self._untold += count
        self._let_go(event)

    def _let_go(self, event: Event) -> None:
        if event.blob is None or event.blob.digest not in self._blobs:
            return
        self._uses[event.blob.digest] -= 1
        if not self._uses[event.blob.digest]:
            del self._uses[event.blob.digest]
            self._blob_bytes -= len(self._blobs.pop(event.blob.digest))


def _is_of_one(error: Exception) -> bool:
    """Whether others of the events may be taken: it is not the job that is refused to this site."""
    if isinstance(error, LinkRefused):
        return error.code in _OF_ONE or error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return True
