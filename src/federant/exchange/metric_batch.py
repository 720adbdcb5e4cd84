"""Many logged records in one message: what is a single number goes in columns, the rest as DXOs.

A client job that reads batches says so with the topic TAKES_BATCHES, in answer to the first record
of a trainer; until then, and to one that never says it, each record goes as a message of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from federant.exchange.analytics import AnalyticsDataType, TrackConst
from federant.exchange.dxo import DXO
from federant.exchange.names import DataKind

METRIC_TOPIC: Final = "metric"
"""One record: data is the DXO itself."""
BATCH_TOPIC: Final = "metric_batch"
"""Records: data is what ``batch_of`` makes."""
TAKES_BATCHES_TOPIC: Final = "takes_metric_batches"
"""From client job to agent: the next records may come in batches."""

_SCALAR_KEYS: Final = frozenset(
    {
        TrackConst.TRACK_KEY,
        TrackConst.TRACK_VALUE,
        TrackConst.GLOBAL_STEP_KEY,
        TrackConst.KWARGS_KEY,
    }
)
_STEP_ONLY: Final = frozenset({TrackConst.GLOBAL_STEP_KEY})
_INT_LIMIT: Final = 1 << 63
_SHOWN_CHARS: Final = 200


class Scalar(NamedTuple):
    """What there is to say of most records."""

    tag: str
    value: float
    step: int | None


class Logged(NamedTuple):
    """A record and when it was logged, in seconds since the epoch."""

    time: float
    what: Scalar | DXO


class MetricBatch(NamedTuple):
    """Records in their order, and how many others were lost since the last batch."""

    logged: Sequence[Logged]
    dropped: int
    refused: Sequence[str] = ()
    """Of what was read and is no record: why it is none, each."""


def scalar_of(record: DXO) -> Scalar | None:
    """The record as tag, number and step, if it says nothing else; None otherwise."""
    data, kind = record.data, record.meta.get(TrackConst.DATA_TYPE_KEY)
    if (
        (kind is not AnalyticsDataType.SCALAR and kind is not AnalyticsDataType.METRIC)
        or record.data_kind != DataKind.ANALYTIC
        or type(data) is not dict
        or not data.keys() <= _SCALAR_KEYS
        or not (data.get(TrackConst.KWARGS_KEY) or {}).keys() <= _STEP_ONLY
    ):
        return None
    return plain_scalar(
        data.get(TrackConst.TRACK_KEY),
        data.get(TrackConst.TRACK_VALUE),
        data.get(TrackConst.GLOBAL_STEP_KEY),
    )


def batch_of(batch: MetricBatch) -> dict[str, Any]:
    """What travels: plain lists of numbers, each tag once, and the other records by their place."""
    tags: dict[str, int] = {}
    columns: tuple[list[Any], ...] = ([], [], [], [])
    records, places, times = [], [], []
    tag_numbers, values, steps, scalar_times = columns
    for place, (time, what) in enumerate(batch.logged):
        if isinstance(what, Scalar):
            tag_numbers.append(tags.setdefault(what.tag, len(tags)))
            values.append(what.value)
            steps.append(what.step)
            scalar_times.append(time)
        else:
            records.append(what)
            places.append(place)
            times.append(time)
    return {
        "tags": list(tags),
        "scalars": list(columns),
        "records": records,
        "places": places,
        "times": times,
        "dropped": batch.dropped,
    }


def read_batch(data: Any) -> MetricBatch:
    """The batch again, whoever made it; what in it is no record is refused and costs no other.

    ValueError for what has not the form of a batch at all.
    """
    logged: list[Logged] = []
    refused: list[str] = []
    try:
        for entry in _entries(data):
            if isinstance(entry, Logged):
                logged.append(entry)
            else:
                refused.append(entry)
        dropped = data["dropped"]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"this is no batch of records: {error!r}") from error
    if type(dropped) is not int or not 0 <= dropped < _INT_LIMIT:
        refused.append(f"{_shown(dropped)} is no count of lost records")
        dropped = 0
    return MetricBatch(logged, dropped, refused)


def _entries(data: Any) -> Iterator[Logged | str]:
    """Each record, or why it is none."""
    tags = data["tags"]
    tag_count = len(tags)
    records = iter(zip(data["places"], data["times"], data["records"], strict=True))
    coming = next(records, None)
    at = 0
    for number, value, step, when in zip(*data["scalars"], strict=True):
        while coming is not None and coming[0] == at:
            yield _whole(*coming[1:])
            coming = next(records, None)
            at += 1
        known = type(number) is int and 0 <= number < tag_count
        scalar = plain_scalar(tags[number], value, step) if known else None
        moment = _moment(when)
        if scalar is not None and moment is not None:
            yield Logged(moment, scalar)
        else:
            yield (
                f"{_shown(value)} at step {_shown(step)} and time {_shown(when)} is no number "
                f"under the tag {_shown(tags[number] if known else number)}"
            )
        at += 1
    while coming is not None:
        yield _whole(*coming[1:])
        coming = next(records, None)


def _whole(time: Any, record: Any) -> Logged | str:
    if not isinstance(record, DXO):
        return f"a record is a {type(record).__name__}, no DXO"
    moment = _moment(time)
    return f"{_shown(time)} is no time of a record" if moment is None else Logged(moment, record)


def _moment(time: Any) -> float | None:
    if type(time) is float:
        return time
    return float(time) if type(time) is int and abs(time) < _INT_LIMIT else None


def _shown(value: Any) -> str:
    """The value in a sentence; what is no number or name by its type, for it may be large."""
    if type(value) is str:
        return repr(value[:_SHOWN_CHARS])
    if value is None or type(value) in (bool, float):
        return repr(value)
    return str(value) if _moment(value) is not None else f"a {type(value).__name__}"


def plain_scalar(tag: Any, value: Any, step: Any) -> Scalar | None:
    """The three as a Scalar, if they can travel in columns; None for other types, and ranges."""
    kind = type(value)
    if (
        type(tag) is str
        and (kind is float or (kind is int and abs(value) < _INT_LIMIT))
        and (step is None or (type(step) is int and 0 <= step < _INT_LIMIT))
    ):
        return Scalar(tag, value, step)
    return None
