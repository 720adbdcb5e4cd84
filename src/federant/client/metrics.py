"""The way of metrics out of a trainer: a bounded queue and one thread that empties it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from copy import deepcopy
from enum import StrEnum
from typing import Any, NamedTuple

from federant.client.endings import ending
from federant.exchange import DXO
from federant.pipe import Message, PipeHandler
from federant.spool import SpoolError

METRIC_TOPIC = "metric"

QUEUE_LENGTH = 4096
"""Records that wait for the client job before new ones are dropped."""

QUEUE_BYTES = 64 << 20
"""What the records that wait, and the one that is being sent, may take in memory."""

OBJECT_BYTES = 64
"""What any value in a record is reckoned to take, beside its text or its array."""

logger = logging.getLogger(__name__)


class _Why(StrEnum):
    """Why a record is dropped; the first of each kind is worth a warning."""

    FULL = "full"
    ENDED = "ended"
    UNREAD = "unread"
    UNFIT = "unfit"


class _Waiting(NamedTuple):
    record: DXO
    size: int


class MetricSender:
    """Sends records in the order in which they were put; thread-safe.

    ``dropped`` counts the records that did not arrive: the queue was full, the client job did not
    read them, or they hold what cannot travel. The end of the channel ends the sender and nothing
    else.
    """

    def __init__(self, handler: PipeHandler, send_timeout: float) -> None:
        self._handler = handler
        self._send_timeout = send_timeout
        self._condition = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0  # of the queue, and of the record that is being sent
        self._sending = False
        self._ended = False
        self._warned: set[_Why] = set()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="federant-metrics", daemon=True)

    def start(self) -> None:
        self._handler.set_status_cb(lambda status: self._end(str(ending(status))))
        self._handler.start()
        self._thread.start()

    def stop(self, flush_seconds: float, *, close_pipe: bool) -> None:
        """Waits at most so long until what was put is sent, and sends nothing more."""
        self.flush(flush_seconds)
        self._end("the agent was stopped")
        self._handler.stop(close_pipe=close_pipe)

    def put(self, record: DXO) -> bool:
        """Takes a copy of the record to be sent; False if there is no room or no receiver.

        TypeError for what cannot be copied.
        """
        size = _size(record.data) + _size(record.meta)
        with self._condition:
            if self._ended:
                return False
            if len(self._queue) >= QUEUE_LENGTH or self._bytes + size > QUEUE_BYTES:
                self._drop(
                    1,
                    _Why.FULL,
                    f"no room for {size} bytes: {len(self._queue)} records wait, {self._bytes} "
                    f"bytes; at most {QUEUE_LENGTH} and {QUEUE_BYTES} may",
                )
                return False
            self._queue.append(_Waiting(_copy(record), size))
            self._bytes += size
            self._condition.notify_all()
            return True

    def flush(self, seconds: float) -> bool:
        """Waits at most so long until nothing is left to be sent; whether that is so."""
        with self._condition:
            return self._condition.wait_for(self._is_done, seconds)

    def _is_done(self) -> bool:
        waits = self._queue or self._sending
        return not waits or self._ended or not self._thread.is_alive()

    def _end(self, reason: str) -> None:
        with self._condition:
            if not self._ended:
                self._ended = True
                self._drop(len(self._queue), _Why.ENDED, reason)
                self._queue.clear()
                self._condition.notify_all()

    def _run(self) -> None:
        try:
            while (waiting := self._next()) is not None:
                self._send(waiting)
        finally:
            self._end("the thread that sends metrics has ended")

    def _next(self) -> _Waiting | None:
        with self._condition:
            self._condition.wait_for(lambda: self._queue or self._ended)
            if self._ended:
                return None
            self._sending = True
            return self._queue.popleft()

    def _send(self, waiting: _Waiting) -> None:
        why, text = _Why.UNREAD, "the client job did not read a record"
        try:
            read = self._handler.send_to_peer(
                Message.new_request(METRIC_TOPIC, waiting.record), timeout=self._send_timeout
            )
        except (TypeError, SpoolError) as error:
            read = False
            why, text = _Why.UNFIT, f"a record cannot be sent: {error}"
        with self._condition:
            self._sending = False
            self._bytes -= waiting.size
            if not read:
                self._drop(1, why, text)
            self._condition.notify_all()

    def _drop(self, count: int, why: _Why, text: str) -> None:
        self.dropped += count
        if count and why not in self._warned:
            self._warned.add(why)
            logger.warning(
                "metrics dropped count=%d reason=%r, agent.metrics_dropped counts on", count, text
            )


def _copy(record: DXO) -> DXO:
    try:
        return DXO(record.data_kind, deepcopy(record.data), deepcopy(record.meta))
    except Exception as error:
        raise TypeError(
            f"a record must be copied to be sent later, and this one cannot be: {error}; log "
            "numbers, strings or numpy arrays, or dicts, lists and tuples of these"
        ) from error


def _size(value: Any, levels: int = 8) -> int:
    """About how many bytes of memory a copy of it takes; what lies deeper counts as nothing."""
    if isinstance(value, str | bytes | bytearray):
        return OBJECT_BYTES + len(value)
    size = OBJECT_BYTES + getattr(value, "nbytes", 0)
    if levels and isinstance(value, dict):
        size += sum(_size(part, levels - 1) for entry in value.items() for part in entry)
    elif levels and isinstance(value, list | tuple):
        size += sum(_size(part, levels - 1) for part in value)
    return int(size)
