"""The journal of a workflow's steps, by job and number: SQL inside a transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, bindparam, insert, select, update

from federant.server.wakeups import job_topic

from . import jobs, tasks
from .errors import ConflictError, UnknownRowError
from .rows import NewTask, StepRow
from .tables import steps
from .transaction import Transaction

_OF_JOB: Final = steps.c.job_id == bindparam("of_job")
_AT: Final = steps.c.number == bindparam("at")
_BY_NUMBER: Final = select(steps).where(_OF_JOB, _AT)
_NEWEST: Final = select(steps).where(_OF_JOB).order_by(steps.c.number.desc()).limit(1)
_NEWEST_ROUND: Final = _NEWEST.where(steps.c.detail["round"].as_integer().is_not(None))
_INSERT: Final = insert(steps).returning(*steps.c)
_CHANGE: Final = update(steps).where(_OF_JOB, _AT).returning(*steps.c)


def begin(
    tx: Transaction,
    job_id: str,
    number: int,
    kind: str,
    detail: Mapping[str, Any],
    new: Sequence[NewTask],
) -> StepRow:
    found = find(tx, job_id, number)
    if found is not None:
        return found
    _require_active(tx, job_id)
    fresh = {
        "job_id": job_id,
        "number": number,
        "kind": kind,
        "detail": dict(detail),
        "open": True,
        "created": tx.now,
    }
    row = tx.conn.execute(_INSERT, fresh).mappings().one()
    tx.wake(job_topic(job_id))
    _queue(tx, job_id, number, new)
    return _step(row)


def close(tx: Transaction, job_id: str, number: int, outcome: Mapping[str, Any]) -> StepRow:
    """Keep the outcome and cancel what is open; a closed step stays as it was closed."""
    step = get(tx, job_id, number)
    if not step.open:
        return step
    still_open = tasks.open_of_step(tx, job_id, number)
    tasks.cancel(tx, still_open, f"step {number} of job {job_id} has ended")
    change = {"open": False, "outcome": dict(outcome), "closed": tx.now}
    row = tx.conn.execute(_CHANGE, {"of_job": job_id, "at": number, **change}).mappings().one()
    tx.wake(job_topic(job_id))
    return _step(row)


def find(tx: Transaction, job_id: str, number: int) -> StepRow | None:
    row = tx.conn.execute(_BY_NUMBER, {"of_job": job_id, "at": number}).mappings().first()
    return None if row is None else _step(row)


def get(tx: Transaction, job_id: str, number: int) -> StepRow:
    found = find(tx, job_id, number)
    if found is None:
        raise UnknownRowError(f"job {job_id} has no step {number}; begin it first")
    return found


def newest(tx: Transaction, job_id: str) -> StepRow | None:
    row = tx.conn.execute(_NEWEST, {"of_job": job_id}).mappings().first()
    return None if row is None else _step(row)


def newest_round(tx: Transaction, job_id: str) -> StepRow | None:
    row = tx.conn.execute(_NEWEST_ROUND, {"of_job": job_id}).mappings().first()
    return None if row is None else _step(row)


def _queue(tx: Transaction, job_id: str, number: int, new: Sequence[NewTask]) -> None:
    """Queue the tasks; those of a site that is gone from the job are answered at once."""
    if not new:
        return
    by_id = {task.id: task for task in new}
    parts = {part.site: part for part in jobs.parts(tx, job_id)}
    for task in new:
        if task.site not in parts:
            raise ConflictError(
                f"task {task.id} is for site {task.site}, which takes no part in job {job_id}"
            )
    for task_id in tasks.queue(tx, job_id, number, new):
        task = by_id[task_id]
        part = parts[task.site]
        if part.state.gone:
            error = jobs.gone_text(part.site, part.state, part.text)
            tasks.finish(tx, tasks.get(tx, task_id), rc=jobs.gone_code(part.state), error=error)


def _require_active(tx: Transaction, job_id: str) -> None:
    job = jobs.get(tx, job_id)
    if job.state.ended:
        raise ConflictError(f"job {job_id} has {job.state}: it takes no more steps")


def _step(row: RowMapping) -> StepRow:
    return StepRow(**row)
