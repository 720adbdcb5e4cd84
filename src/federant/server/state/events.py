"""A job's events, the summaries of its metrics, and how far its sinks are; SQL in a transaction."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, bindparam, case, func, insert, select, update

from federant.link.messages import BlobRef, Event, EventKind
from federant.server.wakeups import EVENTS_TOPIC, events_topic

from .errors import UnknownRowError
from .rows import EventRow, MetricRow, SinkCursor
from .tables import events, job_sites, jobs, metrics, sink_cursors
from .transaction import Transaction

_log = logging.getLogger(__name__)

_LARGEST_COUNT = 1 << 53
"""So many lost records are counted at most, whatever a site says: SQL's integers end somewhere."""
_TAGS_AT_ONCE = 500
_NEWS: Final = 10_000
"""So many events that tell how a site fares are kept beside what it may log."""

_SHOWN: Final = select(jobs.c.id).where(jobs.c.id == bindparam("by_id"), jobs.c.deleted.is_(None))
_PART: Final = (job_sites.c.job_id == bindparam("by_id")) & (
    job_sites.c.site == bindparam("at_site")
)
_KEPT: Final = select(job_sites.c.events_kept).where(_PART)
_KEPT_MORE: Final = (
    update(job_sites).where(_PART).values(events_kept=job_sites.c.events_kept + bindparam("more"))
)
_UPDATE_SUMMARY = (
    update(metrics)
    .where(
        metrics.c.job_id == bindparam("of_job"),
        metrics.c.site == bindparam("at_site"),
        metrics.c.tag == bindparam("of_tag"),
    )
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("count", "last", "least", "greatest", "first_step", "last_step", "time")
        }
    )
)


def add(
    tx: Transaction, job_id: str, site: str, new: Sequence[Event], most: int | None = None
) -> int:
    """Keep those that are not there yet, by id; returns how many.

    None of a job that was deleted since the caller looked.  Beyond ``most`` of a site none is kept:
    the rest is counted as dropped, which an event of the server's own says once.
    """
    if not _is_shown(tx, job_id):
        return 0
    fresh = {event.id: event for event in new}
    there = select(events.c.id).where(
        events.c.job_id == job_id, events.c.site == site, events.c.id.in_(fresh)
    )
    for known in tx.conn.execute(there).scalars():
        del fresh[known]
    if most is not None:
        _drop_beyond(tx, job_id, site, fresh, most)
    if not fresh:
        return 0
    tx.conn.execute(
        insert(events),
        [
            {
                "id": event.id,
                "job_id": job_id,
                "site": site,
                "task": event.task,
                "kind": event.kind,
                "tag": event.tag,
                "value": event.value,
                "step": event.step,
                "text": event.text,
                "time": tx.now if event.time is None else event.time,
                "blob_digest": event.blob.digest if event.blob else None,
                "blob_size": event.blob.size if event.blob else None,
            }
            for event in fresh.values()
        ],
    )
    tx.conn.execute(_KEPT_MORE, {"by_id": job_id, "at_site": site, "more": len(fresh)})
    _sum_up(tx, job_id, site, fresh.values())
    _count_dropped(tx, job_id, site, _lost(fresh.values()))
    tx.wake(events_topic(job_id), EVENTS_TOPIC)
    return len(fresh)


def of_job(
    tx: Transaction,
    job_id: str,
    after: int,
    limit: int,
    kind: str | None = None,
    tag: str | None = None,
    site: str | None = None,
) -> list[EventRow]:
    found = select(events).where(events.c.job_id == job_id, events.c.seq > after)
    for column, wanted in ((events.c.kind, kind), (events.c.tag, tag), (events.c.site, site)):
        if wanted is not None:
            found = found.where(column == wanted)
    rows = tx.conn.execute(found.order_by(events.c.seq).limit(limit)).mappings()
    return [_event(row) for row in rows]


def get(tx: Transaction, job_id: str, seq: int) -> EventRow:
    found = select(events).where(events.c.job_id == job_id, events.c.seq == seq)
    row = tx.conn.execute(found).mappings().first()
    if row is None:
        raise UnknownRowError(f"job {job_id} has no event {seq}; ask for its events")
    return _event(row)


def summaries(tx: Transaction, job_id: str) -> list[MetricRow]:
    found = select(metrics).where(metrics.c.job_id == job_id)
    rows = tx.conn.execute(found.order_by(metrics.c.site, metrics.c.tag)).mappings()
    return [MetricRow(**row) for row in rows]


# ---- sinks ----------------------------------------------------------------------------------


def cursor(tx: Transaction, job_id: str, sink: str) -> SinkCursor:
    """Of a sink that has taken nothing yet, the beginning."""
    found = select(sink_cursors).where(_is_cursor(job_id, sink))
    row = tx.conn.execute(found).mappings().first()
    if row is None:
        return SinkCursor(job_id, sink)
    return SinkCursor(job_id, sink, row["seq"], row["place"], row["done"], row["error"])


def save_cursor(tx: Transaction, new: SinkCursor) -> None:
    """Nothing for a job that was deleted meanwhile."""
    if not _is_shown(tx, new.job_id):
        return
    values: dict[str, Any] = {
        "seq": new.seq,
        "place": dict(new.place),
        "done": new.done,
        "error": new.error,
        "updated": tx.now,
    }
    changed = update(sink_cursors).where(_is_cursor(new.job_id, new.sink)).values(values)
    if not tx.conn.execute(changed).rowcount:
        fresh = insert(sink_cursors).values(job_id=new.job_id, sink=new.sink, **values)
        tx.conn.execute(fresh)


def count_after(tx: Transaction, job_id: str, seq: int) -> int:
    found = select(func.count()).where(events.c.job_id == job_id, events.c.seq > seq)
    return tx.conn.execute(found).scalar_one()


# ---- inside ---------------------------------------------------------------------------------


def _is_shown(tx: Transaction, job_id: str) -> bool:
    """False for a job that was deleted."""
    return tx.conn.execute(_SHOWN, {"by_id": job_id}).first() is not None


def _is_cursor(job_id: str, sink: str) -> Any:
    return (sink_cursors.c.job_id == job_id) & (sink_cursors.c.sink == sink)


def _sum_up(tx: Transaction, job_id: str, site: str, new: Iterable[Event]) -> None:
    by_tag: dict[str, list[Event]] = {}
    for event in new:
        if event.kind == EventKind.METRIC and event.value is not None:
            by_tag.setdefault(event.tag, []).append(event)
    tags = list(by_tag)
    known: dict[str, RowMapping] = {}
    for start in range(0, len(tags), _TAGS_AT_ONCE):
        found = select(metrics).where(
            metrics.c.job_id == job_id,
            metrics.c.site == site,
            metrics.c.tag.in_(tags[start : start + _TAGS_AT_ONCE]),
        )
        rows = tx.conn.execute(found.with_for_update()).mappings()
        known |= {row["tag"]: row for row in rows}
    fresh, changed = [], []
    for tag, told in by_tag.items():
        values = _summary(told, known.get(tag), tx.now)
        if tag in known:
            changed.append(
                {
                    "of_job": job_id,
                    "at_site": site,
                    "of_tag": tag,
                    **{f"new_{name}": value for name, value in values.items()},
                }
            )
        else:
            fresh.append({"job_id": job_id, "site": site, "tag": tag, **values})
    if fresh:
        tx.conn.execute(insert(metrics), fresh)
    if changed:
        tx.conn.execute(_UPDATE_SUMMARY, changed)


def _summary(
    told: Sequence[Event], before: Mapping[Any, Any] | None, now: float
) -> dict[str, float | int | None]:
    """The summary of these events and of those before them."""
    values = [event.value for event in told if event.value is not None]
    real = [value for value in values if not math.isnan(value)]
    steps = [event.step for event in told if event.step is not None]
    count = len(values)
    if before is not None:
        count += before["count"]
        real += [before[name] for name in ("least", "greatest") if before[name] is not None]
        steps += [before[name] for name in ("first_step", "last_step") if before[name] is not None]
    newest = told[-1].time
    return {
        "count": count,
        "last": values[-1],
        "least": min(real, default=None),
        "greatest": max(real, default=None),
        "first_step": min(steps, default=None),
        "last_step": max(steps, default=None),
        "time": now if newest is None else newest,
    }


def _drop_beyond(
    tx: Transaction, job_id: str, site: str, fresh: dict[str, Event], most: int
) -> None:
    """Take out of ``fresh`` what is too much, count it, and tell of it the first time."""
    kept = tx.conn.execute(_KEPT, {"by_id": job_id, "at_site": site}).scalar()
    if kept is None or kept + len(fresh) <= most:
        return
    dropped = 0
    for event in list(fresh.values()):
        # An operator is to hear why a site fails, also of one that has logged too much.
        is_news = event.kind in (EventKind.STATUS, EventKind.DROPPED)
        if kept < most + (_NEWS if is_news else 0):
            kept += 1
        else:
            del fresh[event.id]
            dropped += 1
    if not dropped:
        return
    _count_dropped(tx, job_id, site, dropped)
    text = (
        f"{site} has logged {most} metrics, texts and images in this job, and no more are kept: "
        f"what it logs from now on is dropped and counted (federant metrics {job_id}); the server "
        "may be told to keep more (events in the table [limits] of server.toml)"
    )
    told = Event(id=f"most-events-{site}", kind=EventKind.STATUS, tag="metrics", text=text)
    if add(tx, job_id, "", [told]):
        _log.warning("events are dropped job=%s site=%s kept=%d", job_id, site, most)


def _lost(new: Iterable[Event]) -> int:
    """How many records these tell to be lost."""
    return sum(
        int(event.value)
        for event in new
        if event.kind == EventKind.DROPPED
        and event.value is not None
        and 0 <= event.value < _LARGEST_COUNT  # a NaN is not
    )


def _count_dropped(tx: Transaction, job_id: str, site: str, lost: int) -> None:
    if lost:
        lost = min(lost, _LARGEST_COUNT)
        total = job_sites.c.metrics_dropped + lost
        tx.conn.execute(
            update(job_sites)
            .where(job_sites.c.job_id == job_id, job_sites.c.site == site)
            .values(metrics_dropped=case((total > _LARGEST_COUNT, _LARGEST_COUNT), else_=total))
        )


def _event(row: RowMapping) -> EventRow:
    parts = dict(row)
    digest, size = parts.pop("blob_digest"), parts.pop("blob_size")
    blob = None if digest is None else BlobRef(digest=digest, size=size)
    return EventRow(**parts, blob=blob)
