"""The client job's end of the metric pipe: a trainer's records become events for the server."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import NamedTuple

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
_SHOWN_CHARS = 200
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
        if message.topic != BATCH_TOPIC and handler is not self._told:
            # Not before a record came: a trainer that is no agent of ours may not know what it is.
            self._told = handler
            self._sessions.tell(TAKES_BATCHES_TOPIC, None)
        events = list(events_of_message(message, self._keep))
        refused = [event for event in events if event.kind == EventKind.DROPPED]
        if refused:
            _log.warning(
                "records were lost count=%d first=%r",
                sum(int(event.value or 0) for event in refused), refused[0].text,
            )  # fmt: skip
        self._on_events(events)


def events_of_message(message: Message, keep: Keep | None = None) -> Iterator[Event]:
    """The events of what a trainer sent; what is no record is told of as dropped."""
    message_id = str(message.msg_id)[:_ID_CHARS]
    if message.topic != BATCH_TOPIC:
        yield from events_of(message.data, message_id, None, keep)
        return
    try:
        batch = read_batch(message.data)
    except ValueError as error:
        yield _refused(message_id, 1, str(error))
    else:
        yield from events_of_batch(batch, message_id, keep)


def events_of_batch(batch: MetricBatch, batch_id: str, keep: Keep | None = None) -> Iterator[Event]:
    """The events of all its records, and first of what was lost before them, or is no record."""
    batch_id = batch_id[:_ID_CHARS]
    if batch.refused:
        yield _refused(f"{batch_id}-refused", len(batch.refused), batch.refused[0])
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
            entry = _Entry(EventKind.METRIC, (what.tag,), what.step, what.value)
            yield _event_of(f"{batch_id}-{number}", entry, when, keep)


def dropped_event(event_id: str, where: str, count: int, why: str) -> Event:
    """That so many records were lost, each of which is told of once."""
    lost = "1 metric was" if count == 1 else f"{count} metrics were"
    return Event(
        id=event_id,
        kind=EventKind.DROPPED,
        tag=where,
        value=float(count),
        text=f"{lost} dropped at the {where}: {why}"[:MAX_TEXT_CHARS],
        time=time.time(),
    )


def _refused(event_id: str, count: int, why: str) -> Event:
    return dropped_event(event_id, "client job", count, why)


def events_of(
    record: object, record_id: str, when: float | None = None, keep: Keep | None = None
) -> Iterator[Event]:
    """The events that a record holds; each number of a dict is one of its own.

    In the place of what can be no event stands one that says so, and counts as dropped.
    """
    record_id = record_id[:_ID_CHARS]
    if not isinstance(record, DXO):
        yield _refused(f"{record_id}-0", 1, f"a record is a {type(record).__name__}, no DXO")
        return
    for number, entry in enumerate(_entries(record)):
        yield _event_of(f"{record_id}-{number}", entry, when, keep)


class _Entry(NamedTuple):
    """What becomes one event, as the trainer said it."""

    kind: str
    names: tuple[object, ...]
    """The parts of the tag."""
    step: object
    value: object


def _event_of(event_id: str, entry: _Entry, when: float | None, keep: Keep | None) -> Event:
    kind, tag = entry.kind, ""
    try:
        measured = None if kind in _NO_METRICS else _number(entry.value)
        tag = "/".join(str(name) for name in entry.names)[:_TAG_CHARS]
        f"{kind}{tag}".encode()  # looked at before anything is kept for the event
        if measured is not None:
            kind, text, blob = EventKind.METRIC, "", None
        elif kind == EventKind.IMAGE:
            text, blob = _image(entry.value, keep)
        else:
            text, blob = _text(entry.value, keep)
        return Event(
            id=event_id,
            kind=kind[:_KIND_CHARS],
            tag=tag,
            step=_step(entry.step),
            value=measured,
            text=text,
            time=_time(when),
            blob=blob,
        )
    except Exception as error:  # noqa: BLE001 - what hostile arrays do to numpy, nobody lists
        what = type(entry.value).__name__
        return _refused(event_id, 1, f"a {what} under the tag {tag[:_SHOWN_CHARS]!r}: {error}")


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


def _entries(record: DXO) -> Iterator[_Entry]:
    """Everything in a record."""
    data = record.data
    if record.data_kind == DataKind.ANALYTIC:
        data_type = record.get_meta_prop(TrackConst.DATA_TYPE_KEY)
        if isinstance(data_type, AnalyticsDataType):
            kind = data_type.value
        else:
            kind = data_type if isinstance(data_type, str) else type(data_type).__name__
        tag = data.get(TrackConst.TRACK_KEY, "")
        step = data.get(TrackConst.GLOBAL_STEP_KEY)
        value = data.get(TrackConst.TRACK_VALUE)
        if isinstance(value, dict):
            above = () if tag == "" else (tag,)
            for name, part in value.items():
                yield _Entry(_KIND_OF_ONE.get(kind, kind), (*above, name), step, part)
        else:
            yield _Entry(kind, (tag,), step, value)
    elif isinstance(data, dict):
        for name, part in data.items():
            yield _Entry(str(record.data_kind), (name,), None, part)
    else:
        yield _Entry(str(record.data_kind), (), None, data)
