"""The client job's end of the metric pipe: a trainer's records become events for the server."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any

from federant.exchange import DXO, AnalyticsDataType, DataKind, TrackConst
from federant.exchange.metric_batch import (
    BATCH_TOPIC,
    TAKES_BATCHES_TOPIC,
    MetricBatch,
    read_batch,
)
from federant.link.messages import (
    MAX_EVENT_BLOB_BYTES,
    MAX_TEXT_CHARS,
    BlobRef,
    Event,
    EventKind,
)
from federant.pipe import Message, Pipe, PipeChannelName, PipeHandler
from federant.site.png import is_pixels, png
from federant.site.sessions import PipeSessions

_log = logging.getLogger(__name__)

Keep = Callable[[bytes], BlobRef | None]
"""Takes what is too large for an event; None if there is no room for it."""

_ID_CHARS = 150
_KIND_CHARS = 100
_TAG_CHARS = 1000
_STEPS = 1 << 62
_NO_METRICS = {EventKind.PARAMETER, EventKind.TAG}
"""Kinds that say what the training is like and not how it goes, even where they are numbers."""
_KIND_OF_ONE = {"PARAMETERS": EventKind.PARAMETER, "TAGS": EventKind.TAG}


class MetricRelay:
    """Reads the metric channel of one pipe, from the start of the job on."""

    def __init__(
        self,
        pipe: Pipe,
        on_events: Callable[[Sequence[Event]], None],
        *,
        keep: Keep | None = None,
        heartbeat_interval: float = 5.0,
    ) -> None:
        self._on_events = on_events
        self._keep = keep
        self._told: PipeHandler | None = None  # the handler whose trainer knows that we batch
        self._sessions = PipeSessions(
            pipe,
            PipeChannelName.METRIC,
            heartbeat_interval=heartbeat_interval,
            on_message=self._on_message,
            on_left=lambda *_: None,  # the task pipe tells of that
        )

    def start(self) -> None:
        self._sessions.start()

    def wait_until_left(self, timeout: float) -> bool:
        """Wait until the trainer has left, and its last records are read; False if it stays."""
        return self._sessions.wait_until_left(timeout)

    def close(self) -> None:
        self._sessions.close()

    def _on_message(self, message: Message, handler: PipeHandler) -> None:
        if message.topic == BATCH_TOPIC:
            try:
                batch = read_batch(message.data)
            except ValueError as error:
                _log.warning("dropped records: %s", error)
                return
            self._on_events(list(events_of_batch(batch, str(message.msg_id), self._keep)))
            return
        if handler is not self._told:
            # Not before a record came: a trainer that is no agent of ours may not know what it is.
            self._told = handler
            self._sessions.tell(TAKES_BATCHES_TOPIC, None)
        if not isinstance(message.data, DXO):
            _log.warning("dropped a record that is no DXO: %s", message)
            return
        self._on_events(list(events_of(message.data, str(message.msg_id), None, self._keep)))


def events_of_batch(batch: MetricBatch, batch_id: str, keep: Keep | None = None) -> Iterator[Event]:
    """The events of all its records, and first of what was lost before them."""
    batch_id = batch_id[:_ID_CHARS]
    if batch.dropped:
        yield dropped_event(
            f"{batch_id}-lost",
            "trainer",
            batch.dropped,
            "the trainer logged more than its client job could read in time, or what cannot travel",
        )
    for number, (when, what) in enumerate(batch.logged):
        if isinstance(what, DXO):
            yield from events_of(what, f"{batch_id}-{number}", when, keep)
        else:
            yield Event(
                id=f"{batch_id}-{number}",
                kind=EventKind.METRIC,
                tag=what.tag[:_TAG_CHARS],
                step=_step(what.step),
                value=float(what.value),
                time=_time(when),
            )


def dropped_event(event_id: str, where: str, count: int, why: str) -> Event:
    """That so many records were lost, each of which is told of once."""
    return Event(
        id=event_id,
        kind=EventKind.DROPPED,
        tag=where,
        value=float(count),
        text=f"{count} metrics were dropped at the {where}: {why}",
        time=time.time(),
    )


def events_of(
    record: DXO, record_id: str, when: float | None = None, keep: Keep | None = None
) -> Iterator[Event]:
    """The events that a record holds; each number of a dict is one of its own."""
    for number, (kind, tag, step, value) in enumerate(_entries(record)):
        measured = None if kind in _NO_METRICS else _number(value)
        if measured is not None:
            kind, text, blob = EventKind.METRIC, "", None
        elif kind == EventKind.IMAGE:
            text, blob = _image(value, keep)
        else:
            text, blob = _text(value, keep)
        yield Event(
            id=f"{record_id[:_ID_CHARS]}-{number}",
            kind=kind[:_KIND_CHARS],
            tag=tag[:_TAG_CHARS],
            step=_step(step),
            value=measured,
            text=text,
            time=_time(when),
            blob=blob,
        )


def _image(value: object, keep: Keep | None) -> tuple[str, BlobRef | None]:
    """An image as a PNG file that is kept; instead of one that cannot be, a sentence."""
    if not is_pixels(value):
        return f"an image cannot be shown: it is {_what(value)}, and not uint8 of shape HWC", None
    height, width, channels = value.shape
    size = f"{width} x {height} pixels of {channels} channel{'s' if channels > 1 else ''}"
    file = png(value)
    if len(file) > MAX_EVENT_BLOB_BYTES:
        return f"{size}, dropped: {len(file)} bytes as PNG, {MAX_EVENT_BLOB_BYTES} may go", None
    blob = None if keep is None else keep(file)
    return (size if blob else f"{size}, dropped: too many images wait for the server"), blob


def _text(value: object, keep: Keep | None) -> tuple[str, BlobRef | None]:
    """A text and, if it is longer than an event's, the whole of it as it is kept."""
    text = str(value)
    if len(text) <= MAX_TEXT_CHARS or keep is None:
        return text[:MAX_TEXT_CHARS], None
    return text[:MAX_TEXT_CHARS], keep(text.encode()[:MAX_EVENT_BLOB_BYTES])


def _what(value: object) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return type(value).__name__ if dtype is None else f"{dtype} of shape {shape}"


def _step(step: object) -> int | None:
    return step if type(step) is int and abs(step) < _STEPS else None


def _time(when: float | None) -> float:
    return time.time() if when is None or not math.isfinite(when) else when


def _number(value: object) -> float | None:
    """The value as a float if it is a number, numpy's too; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _entries(record: DXO) -> Iterator[tuple[str, str, int | None, Any]]:
    """Kind, tag, step and value of everything in a record."""
    data = record.data
    if record.data_kind == DataKind.ANALYTIC:
        data_type = record.get_meta_prop(TrackConst.DATA_TYPE_KEY)
        kind = data_type.value if isinstance(data_type, AnalyticsDataType) else str(data_type)
        tag = str(data.get(TrackConst.TRACK_KEY, ""))
        step = data.get(TrackConst.GLOBAL_STEP_KEY)
        value = data.get(TrackConst.TRACK_VALUE)
        if isinstance(value, dict):
            for name, part in value.items():
                yield (
                    _KIND_OF_ONE.get(kind, kind),
                    f"{tag}/{name}" if tag else str(name),
                    step,
                    part,
                )
        else:
            yield kind, tag, step, value
    elif isinstance(data, dict):
        for name, part in data.items():
            yield str(record.data_kind), str(name), None, part
    else:
        yield str(record.data_kind), "", None, data
