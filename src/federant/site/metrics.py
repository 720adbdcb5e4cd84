"""The client job's end of the metric pipe: a trainer's records become events for the server."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any

from federant.exchange import DXO, AnalyticsDataType, DataKind, TrackConst
from federant.link.messages import Event
from federant.pipe import Message, Pipe, PipeChannelName, PipeHandler
from federant.site.sessions import PipeSessions

_log = logging.getLogger(__name__)

METRIC = "METRIC"
"""The kind of an event that holds one number."""

_TEXT_CHARS = 20_000
_ID_CHARS = 150
_KIND_CHARS = 100
_TAG_CHARS = 1000
_STEPS = 1 << 62


class MetricRelay:
    """Reads the metric channel of one pipe, from the start of the job on."""

    def __init__(
        self,
        pipe: Pipe,
        on_events: Callable[[Sequence[Event]], None],
        *,
        heartbeat_interval: float = 5.0,
    ) -> None:
        self._on_events = on_events
        self._sessions = PipeSessions(
            pipe,
            PipeChannelName.METRIC,
            heartbeat_interval=heartbeat_interval,
            on_message=self._on_message,
            on_left=lambda clean, text: None,  # noqa: ARG005  the task pipe tells of that
        )

    def start(self) -> None:
        self._sessions.start()

    def close(self) -> None:
        self._sessions.close()

    def _on_message(self, message: Message, handler: PipeHandler) -> None:  # noqa: ARG002
        if not isinstance(message.data, DXO):
            _log.warning("dropped a record that is no DXO: %s", message)
            return
        self._on_events(list(events_of(message.data, str(message.msg_id))))


def events_of(record: DXO, record_id: str) -> Iterator[Event]:
    """The events that a record holds; each number of a dict is one of its own."""
    now = time.time()
    for number, (kind, tag, step, value) in enumerate(_entries(record)):
        measured = _number(value)
        yield Event(
            id=f"{record_id[:_ID_CHARS]}-{number}",
            kind=kind[:_KIND_CHARS] if measured is None else METRIC,
            tag=tag[:_TAG_CHARS],
            step=step if type(step) is int and abs(step) < _STEPS else None,
            value=measured,
            text=str(value)[:_TEXT_CHARS] if measured is None else "",
            time=now,
        )


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
                yield kind, f"{tag}/{name}", step, part
        else:
            yield kind, tag, step, value
    elif isinstance(data, dict):
        for name, part in data.items():
            yield str(record.data_kind), str(name), None, part
    else:
        yield str(record.data_kind), "", None, data
