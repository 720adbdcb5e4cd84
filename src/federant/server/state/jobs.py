"""Jobs, who runs them, and their sites' parts in them: SQL inside a transaction."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, bindparam, func, insert, or_, select, update

from federant.exchange import ReturnCode
from federant.link.messages import JobSpec, JobState, SiteState
from federant.server.wakeups import EVENTS_TOPIC, JOBS_TOPIC, events_topic, job_topic, site_topic

from . import events, tasks
from .errors import ConflictError, NotYoursError, UnknownRowError
from .rows import JobRow, JobSiteRow, SinkCursor, SiteRow, TaskRow
from .tables import job_sites, jobs, sink_cursors, sites
from .transaction import Transaction

_ACTIVE = (JobState.SUBMITTED, JobState.RUNNING)

_SEEN_SECONDS: Final = 60.0

# What a task comes to when its site takes no further part in the job.
_GONE_CODES = {
    SiteState.REFUSED: ReturnCode.TRAINER_ABSENT,
    SiteState.FAILED: ReturnCode.TRAINER_DIED,
    SiteState.ENDED: ReturnCode.TASK_ABORTED,
}


# Those of the statements that each round of a job runs; made once, as making one costs most.
_BY_ID: Final = select(jobs).where(jobs.c.id == bindparam("by_id"))
_OF_SITE: Final = (
    select(jobs)
    .join(job_sites, job_sites.c.job_id == jobs.c.id)
    .where(jobs.c.id == bindparam("by_id"), job_sites.c.site == bindparam("at_site"))
)
_PARTS: Final = (
    select(job_sites).where(job_sites.c.job_id == bindparam("by_id")).order_by(job_sites.c.site)
)
_COUNT: Final = (
    update(job_sites)
    .where(job_sites.c.job_id == bindparam("by_id"), job_sites.c.site == bindparam("at_site"))
    .values(
        bytes_up=job_sites.c.bytes_up + bindparam("up"),
        bytes_down=job_sites.c.bytes_down + bindparam("down"),
    )
)

_NO_PART = "site {site} takes no part in job {job_id}"


def new_job_id() -> str:
    """A job id that nobody else has."""
    return f"j{secrets.token_hex(6)}"


def create(tx: Transaction, spec: JobSpec, job_id: str) -> JobRow:
    row = tx.conn.execute(_BY_ID, {"by_id": job_id}).mappings().first()
    if row is not None:
        if row["deleted"] is not None:
            raise ConflictError(f"{_was_deleted(row)}; submit under another id")
        found = _job(row)
        if found.spec == spec:
            return found
        raise ConflictError(
            f"job {job_id} exists with another specification; submit under another id"
        )
    number = tx.conn.execute(select(func.coalesce(func.max(jobs.c.number), 0))).scalar_one() + 1
    tx.conn.execute(
        insert(jobs).values(
            id=job_id,
            number=number,
            spec=spec.model_dump(mode="json"),
            state=JobState.SUBMITTED,
            stop_requested=False,
            error="",
            runner="",
            lease_until=0.0,
            created=tx.now,
        )
    )
    for sink in dict.fromkeys(spec.sinks):
        events.save_cursor(tx, SinkCursor(job_id, sink))
    names = spec.sites or [site.name for site in all_sites(tx)]
    for site in dict.fromkeys(names):
        _join(tx, job_id, site)
    tx.wake(JOBS_TOPIC)
    return get(tx, job_id)


def get(tx: Transaction, job_id: str) -> JobRow:
    row = tx.conn.execute(_BY_ID, {"by_id": job_id}).mappings().first()
    if row is None:
        raise UnknownRowError(f"there is no job {job_id}; list the jobs to see which there are")
    if row["deleted"] is not None:
        raise UnknownRowError(f"{_was_deleted(row)}; list the jobs to see which there are")
    return _job(row)


def every(tx: Transaction) -> list[JobRow]:
    found = select(jobs).where(jobs.c.deleted.is_(None)).order_by(jobs.c.number)
    return [_job(row) for row in tx.conn.execute(found).mappings()]


def set_state(tx: Transaction, job_id: str, state: JobState, error: str) -> JobRow:
    """A job that has ended stays as it ended; ending one cancels its open tasks."""
    job = get(tx, job_id)
    if job.state.ended or job.state is state:
        return job
    values: dict[str, Any] = {"state": state, "error": error}
    if state is JobState.RUNNING and job.started is None:
        values["started"] = tx.now
    if state.ended:
        values |= {"ended": tx.now, "runner": "", "lease_until": 0.0}
        tasks.cancel(tx, tasks.open_of_job(tx, job_id), f"job {job_id} {state}")
        tx.wake(events_topic(job_id), EVENTS_TOPIC)
    tx.conn.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    _wake_job(tx, job_id)
    return get(tx, job_id)


def request_stop(tx: Transaction, job_id: str) -> JobRow:
    job = get(tx, job_id)
    if job.state.ended or job.stop_requested:
        return job
    tx.conn.execute(update(jobs).where(jobs.c.id == job_id).values(stop_requested=True))
    tx.wake(JOBS_TOPIC)
    _wake_job(tx, job_id)
    return get(tx, job_id)


def with_open_sink(
    tx: Transaction, sink: str, ended_after: float | None = None
) -> list[tuple[JobRow, SinkCursor]]:
    """The jobs that name the sink and are not all in it, with how far it is.

    With ``ended_after`` only those that had not ended by then.
    """
    found = (
        select(jobs.c.id)
        .join(sink_cursors, sink_cursors.c.job_id == jobs.c.id)
        .where(sink_cursors.c.sink == sink, sink_cursors.c.done.is_(False))
        .order_by(jobs.c.number)
    )
    if ended_after is not None:
        found = found.where(or_(jobs.c.ended.is_(None), jobs.c.ended > ended_after))
    ids = list(tx.conn.execute(found).scalars())
    return [(get(tx, job_id), events.cursor(tx, job_id, sink)) for job_id in ids]


# ---- the runner's lease ---------------------------------------------------------------------


def claim(tx: Transaction, runner: str, lease_seconds: float) -> list[JobRow]:
    free = or_(jobs.c.runner.in_(("", runner)), jobs.c.lease_until < tx.now)
    wanted = select(jobs.c.id).where(jobs.c.state.in_(_ACTIVE), free).order_by(jobs.c.number)
    ids = list(tx.conn.execute(wanted.with_for_update(skip_locked=True)).scalars())
    tx.conn.execute(
        update(jobs)
        .where(jobs.c.id.in_(ids))
        .values(runner=runner, lease_until=tx.now + lease_seconds)
    )
    return [get(tx, job_id) for job_id in ids]


def release(tx: Transaction, job_id: str, runner: str) -> None:
    """Give a job back, for another runner or a later start; nothing if it is not the runner's."""
    tx.conn.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.runner == runner)
        .values(runner="", lease_until=0.0)
    )
    tx.wake(JOBS_TOPIC)


# ---- sites ----------------------------------------------------------------------------------


def seen_site(tx: Transaction, name: str, instance: str | None, features: Iterable[str]) -> SiteRow:
    """Note that a site spoke; ``instance`` None is a sign of life and no hello."""
    found = select(sites).where(sites.c.name == name)
    known = tx.conn.execute(found).mappings().first()
    if known is None:
        tx.conn.execute(
            insert(sites).values(
                name=name,
                instance=instance or "",
                features=list(features),
                first_seen=tx.now,
                last_seen=tx.now,
            )
        )
        for job in every(tx):
            if not job.state.ended and not job.spec.sites:
                _join(tx, job.id, name)
    else:
        values: dict[str, Any] = {"last_seen": tx.now}
        if instance is not None:
            _require_same(_site(known), instance, tx.now)
            values |= {"instance": instance, "features": list(features)}
        tx.conn.execute(update(sites).where(sites.c.name == name).values(values))
    return _site(tx.conn.execute(found).mappings().one())


def _require_same(site: SiteRow, instance: str, now: float) -> None:
    """Two daemons under one name would each do every task of it."""
    if site.instance and site.instance != instance and site.alive(now):
        raise ConflictError(
            f"{site.name} already runs as instance {site.instance}, last seen "
            f"{max(0.0, now - site.last_seen):.0f} s ago; stop it, or give this one another name"
        )


def just_seen(tx: Transaction, name: str) -> SiteRow | None:
    """The site, if it is known and its last sign of life is too young to be noted anew."""
    row = tx.conn.execute(select(sites).where(sites.c.name == name)).mappings().first()
    if row is None or not 0 <= tx.now - row["last_seen"] < _SEEN_SECONDS:
        return None
    return _site(row)


def all_sites(tx: Transaction) -> list[SiteRow]:
    rows = tx.conn.execute(select(sites).order_by(sites.c.name)).mappings()
    return [_site(row) for row in rows]


def for_site(tx: Transaction, site: str, also: Collection[str]) -> list[JobRow]:
    """The site's jobs that have not ended, and of ``also`` those that have."""
    mine = select(jobs).join(job_sites, job_sites.c.job_id == jobs.c.id)
    wanted: ColumnElement[bool] = or_(jobs.c.state.in_(_ACTIVE), jobs.c.id.in_(list(also)))
    rows = tx.conn.execute(mine.where(job_sites.c.site == site, wanted).order_by(jobs.c.number))
    return [_job(row) for row in rows.mappings()]


def site_part(tx: Transaction, job_id: str, site: str) -> JobSiteRow | None:
    found = select(job_sites).where(job_sites.c.job_id == job_id, job_sites.c.site == site)
    row = tx.conn.execute(found).mappings().first()
    return None if row is None else _job_site(row)


def require_part(tx: Transaction, job_id: str, site: str) -> JobSiteRow:
    """The site's part in the job; raises if it has none."""
    get(tx, job_id)
    part = site_part(tx, job_id, site)
    if part is None:
        raise NotYoursError(_NO_PART.format(site=site, job_id=job_id))
    return part


def of_site(tx: Transaction, job_id: str, site: str) -> JobRow:
    """The job, if the site takes part in it."""
    row = tx.conn.execute(_OF_SITE, {"by_id": job_id, "at_site": site}).mappings().first()
    if row is None:
        get(tx, job_id)
        raise NotYoursError(_NO_PART.format(site=site, job_id=job_id))
    return _job(row)


def parts(tx: Transaction, job_id: str) -> list[JobSiteRow]:
    rows = tx.conn.execute(_PARTS, {"by_id": job_id}).mappings()
    return [_job_site(row) for row in rows]


def set_site_state(tx: Transaction, job_id: str, site: str, state: SiteState, text: str) -> None:
    """A site that is gone answers all its open tasks by that."""
    part = require_part(tx, job_id, site)
    if part.state is state and part.text == text:
        return
    tx.conn.execute(
        update(job_sites)
        .where(job_sites.c.job_id == job_id, job_sites.c.site == site)
        .values(state=state, text=text, updated=tx.now)
    )
    if state.gone:
        for task in tasks.open_of_job(tx, job_id):
            if task.site == site:
                tasks.finish(tx, task, rc=gone_code(state), error=gone_text(site, state, text))
    tx.wake(job_topic(job_id), events_topic(job_id), EVENTS_TOPIC)


def gone_code(state: SiteState) -> str:
    return str(_GONE_CODES[state])


def gone_text(site: str, state: SiteState, text: str) -> str:
    return f"site {site} {state} the job: {text}" if text else f"site {site} {state} the job"


def count_bytes(tx: Transaction, task: TaskRow) -> None:
    """Add to the site's part what a task that it has just answered moved."""
    up, down = (0 if blob is None else blob.size for blob in (task.result_blob, task.blob))
    if up or down:
        counted = {"by_id": task.job_id, "at_site": task.site, "up": up, "down": down}
        tx.conn.execute(_COUNT, counted)


def _join(tx: Transaction, job_id: str, site: str) -> None:
    tx.conn.execute(
        insert(job_sites).values(
            job_id=job_id,
            site=site,
            state=SiteState.PENDING,
            text="",
            bytes_up=0,
            bytes_down=0,
            updated=tx.now,
            metrics_dropped=0,
            events_kept=0,
        )
    )
    tx.wake(site_topic(site), job_topic(job_id))


def _wake_job(tx: Transaction, job_id: str) -> None:
    tx.wake(job_topic(job_id), events_topic(job_id))
    tx.wake(*(site_topic(part.site) for part in parts(tx, job_id)))


def _was_deleted(row: RowMapping) -> str:
    when = datetime.fromtimestamp(row["deleted"], UTC)
    return f"job {row['id']} was deleted on {when:%Y-%m-%d at %H:%M} UTC"


def _job(row: RowMapping) -> JobRow:
    return JobRow(
        id=row["id"],
        spec=JobSpec.model_validate(row["spec"]),
        state=JobState(row["state"]),
        stop_requested=row["stop_requested"],
        error=row["error"],
        runner=row["runner"],
        lease_until=row["lease_until"],
        created=row["created"],
        started=row["started"],
        ended=row["ended"],
    )


def _site(row: RowMapping) -> SiteRow:
    return SiteRow(**{**row, "features": tuple(row["features"])})


def _job_site(row: RowMapping) -> JobSiteRow:
    return JobSiteRow(**{**row, "state": SiteState(row["state"])})
