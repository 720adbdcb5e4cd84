"""Tasks: queued, leased to their site, done or cancelled; SQL inside a transaction.

The statements stand at the top, made once: making one costs more than running it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from sqlalchemy import RowMapping, bindparam, func, insert, or_, select, update

from federant.link.messages import BlobRef, CommitOutcome
from federant.server.wakeups import job_topic, site_topic, task_topic

from .errors import NotYoursError, UnknownRowError
from .rows import Commit, NewTask, TaskRow, TaskState
from .tables import tasks
from .transaction import Transaction

_IS_OPEN: Final = tasks.c.state.in_((TaskState.QUEUED, TaskState.LEASED))
_OF_JOB: Final = tasks.c.job_id == bindparam("of_job")
_ORDERED: Final = select(tasks).order_by(tasks.c.number)

_BY_ID: Final = select(tasks).where(tasks.c.id == bindparam("by_id"))
_OF_STEP: Final = _ORDERED.where(_OF_JOB, tasks.c.step == bindparam("of_step"))
_OPEN_OF_STEP: Final = _OF_STEP.where(_IS_OPEN)
_OPEN_OF_JOB: Final = _ORDERED.where(_OF_JOB, _IS_OPEN)
_DUE: Final = _OPEN_OF_JOB.where(
    tasks.c.site == bindparam("at_site"),
    or_(tasks.c.deadline.is_(None), tasks.c.deadline > bindparam("by_now")),
)
_DUE_BUT: Final = _DUE.where(tasks.c.id.not_in(bindparam("holding", expanding=True)))
_THERE: Final = select(tasks.c.id).where(tasks.c.id.in_(bindparam("ids", expanding=True)))
_LAST_NUMBER: Final = select(func.coalesce(func.max(tasks.c.number), 0)).where(_OF_JOB)
_LAST_SEQ: Final = select(func.coalesce(func.max(tasks.c.seq), 0)).where(_OF_JOB)
_GIVEN: Final = (
    select(tasks.c.id)
    .where(tasks.c.site == bindparam("at_site"), tasks.c.blob_digest == bindparam("of_digest"))
    .limit(1)
)
_INSERT: Final = insert(tasks)
_CHANGE: Final = update(tasks).where(tasks.c.id == bindparam("by_id"), _IS_OPEN).returning(*tasks.c)


def get(tx: Transaction, task_id: str) -> TaskRow:
    row = tx.conn.execute(_BY_ID, {"by_id": task_id}).mappings().first()
    if row is None:
        raise UnknownRowError(f"there is no task {task_id}; ask for the next task")
    return _task(row)


def get_own(tx: Transaction, task_id: str, site: str) -> TaskRow:
    """The task, if it is the site's."""
    task = get(tx, task_id)
    if task.site != site:
        raise NotYoursError(f"task {task_id} is not one of site {site}")
    return task


def of_step(tx: Transaction, job_id: str, number: int) -> list[TaskRow]:
    rows = tx.conn.execute(_OF_STEP, {"of_job": job_id, "of_step": number})
    return [_task(row) for row in rows.mappings()]


def open_of_job(tx: Transaction, job_id: str) -> list[TaskRow]:
    rows = tx.conn.execute(_OPEN_OF_JOB, {"of_job": job_id})
    return [_task(row) for row in rows.mappings()]


def open_of_step(tx: Transaction, job_id: str, number: int) -> list[TaskRow]:
    rows = tx.conn.execute(_OPEN_OF_STEP, {"of_job": job_id, "of_step": number})
    return [_task(row) for row in rows.mappings()]


def due(tx: Transaction, job_id: str, site: str, holding: Collection[str]) -> TaskRow | None:
    """The site's first open task that it does not have in hand and whose time is not over."""
    wanted: dict[str, Any] = {"of_job": job_id, "at_site": site, "by_now": tx.now}
    statement = _DUE
    if holding:
        statement = _DUE_BUT
        wanted["holding"] = list(holding)
    row = tx.conn.execute(statement, wanted).mappings().first()
    return None if row is None else _task(row)


def queue(tx: Transaction, job_id: str, step: int, new: Iterable[NewTask]) -> list[str]:
    """Add the tasks that are not there yet; returns the ids of those that were added."""
    wanted = {task.id: task for task in new}
    there = set(tx.conn.execute(_THERE, {"ids": list(wanted)}).scalars())
    fresh = [task for task in wanted.values() if task.id not in there]
    if not fresh:
        return []
    last = tx.conn.execute(_LAST_NUMBER, {"of_job": job_id}).scalar_one()
    tx.conn.execute(
        _INSERT,
        [
            {
                "id": task.id,
                "job_id": job_id,
                "step": step,
                "site": task.site,
                "number": number,
                "name": task.name,
                "headers": dict(task.headers),
                "blob_digest": task.blob.digest if task.blob else None,
                "blob_size": task.blob.size if task.blob else None,
                "expect": dict(task.expect),
                "deadline": task.deadline,
                "state": TaskState.QUEUED,
                "attempt": 0,
                "holder": "",
                "lease_until": 0.0,
                "rc": "",
                "result_headers": {},
                "error": "",
                "created": tx.now,
            }
            for number, task in enumerate(fresh, start=last + 1)
        ],
    )
    tx.wake(job_topic(job_id), *(site_topic(task.site) for task in fresh))
    return [task.id for task in fresh]


def lease(tx: Transaction, task: TaskRow, holder: str, lease_seconds: float) -> TaskRow | None:
    """Lease a due task to its site's holder; None if it ended after it was found due.

    One that is leased to the site already is given again: the answer that gave it was lost, or
    the client job that had it is gone.  Only a lease that ran out makes it a new attempt.
    """
    again = task.state is TaskState.LEASED and task.lease_until >= tx.now
    return _changed(
        tx,
        task,
        state=TaskState.LEASED,
        holder=holder,
        lease_until=tx.now + lease_seconds,
        attempt=task.attempt if again else task.attempt + 1,
    )


def renew(tx: Transaction, task: TaskRow, holder: str, lease_seconds: float) -> TaskRow:
    """Extend the site's lease on an open task; the row says what became of one that is not.

    Whoever renews is the holder from then on: within a site it is the living client job that
    renews, and an answer to one that is gone may have named another meanwhile.
    """
    changed = _changed(
        tx,
        task,
        state=TaskState.LEASED,
        holder=holder,
        lease_until=tx.now + lease_seconds,
        attempt=max(task.attempt, 1),
    )
    return changed or get(tx, task.id)


def held_for(task: TaskRow, holder: str, now: float) -> float:
    """How many seconds longer the holder has the task."""
    held = task.state is TaskState.LEASED and task.holder == holder
    return max(0.0, task.lease_until - now) if held else 0.0


def commit_result(
    tx: Transaction,
    task_id: str,
    site: str,
    attempt: int,
    rc: str,
    headers: Mapping[str, Any],
    blob: BlobRef | None,
    error: str,
    *,
    refused: bool,
) -> Commit:
    """End an open task with its result; the first result is the one that counts."""
    task = get_own(tx, task_id, site)
    if task.state is TaskState.DONE:
        return Commit(CommitOutcome.DUPLICATE, task.rc, task.error, task)
    if task.state is TaskState.CANCELLED:
        return Commit(CommitOutcome.LATE, rc, task.error, task)
    # A result at hand counts whichever attempt brings it, and whatever became of the lease.
    done = finish(
        tx, task, rc=rc, error=error, headers=headers, blob=blob, attempt=max(attempt, task.attempt)
    )
    outcome = CommitOutcome.REFUSED if refused else CommitOutcome.ACCEPTED
    return Commit(outcome, rc, error, done)


def finish(
    tx: Transaction,
    task: TaskRow,
    *,
    rc: str,
    error: str,
    headers: Mapping[str, Any] | None = None,
    blob: BlobRef | None = None,
    attempt: int | None = None,
) -> TaskRow:
    """Make an open task done, next in its job's order of commits."""
    last = tx.conn.execute(_LAST_SEQ, {"of_job": task.job_id}).scalar_one()
    done = _changed(
        tx,
        task,
        state=TaskState.DONE,
        seq=last + 1,
        rc=rc,
        error=error,
        result_headers=dict(headers or {}),
        result_digest=blob.digest if blob else None,
        result_size=blob.size if blob else None,
        attempt=task.attempt if attempt is None else attempt,
        ended=tx.now,
    )
    tx.wake(job_topic(task.job_id), task_topic(task.id))
    return done or get(tx, task.id)


def cancel(tx: Transaction, open_ones: Iterable[TaskRow], reason: str) -> None:
    """Cancel these; whoever waits on one of them is told why."""
    for task in open_ones:
        _changed(tx, task, state=TaskState.CANCELLED, error=reason, ended=tx.now)
        tx.wake(task_topic(task.id), job_topic(task.job_id))


def given(tx: Transaction, site: str, digest: str) -> bool:
    """Whether the site has a task with that blob."""
    found = tx.conn.execute(_GIVEN, {"at_site": site, "of_digest": digest})
    return found.scalar() is not None


def _changed(tx: Transaction, task: TaskRow, **values: Any) -> TaskRow | None:
    """Change a task if it is still open."""
    row = tx.conn.execute(_CHANGE, {"by_id": task.id, **values}).mappings().first()
    return None if row is None else _task(row)


def _task(row: RowMapping) -> TaskRow:
    return TaskRow(
        id=row["id"],
        job_id=row["job_id"],
        step=row["step"],
        site=row["site"],
        name=row["name"],
        headers=row["headers"],
        blob=_ref(row["blob_digest"], row["blob_size"]),
        expect=row["expect"],
        deadline=row["deadline"],
        state=TaskState(row["state"]),
        attempt=row["attempt"],
        holder=row["holder"],
        lease_until=row["lease_until"],
        seq=row["seq"],
        rc=row["rc"],
        result_headers=row["result_headers"],
        result_blob=_ref(row["result_digest"], row["result_size"]),
        error=row["error"],
        created=row["created"],
        ended=row["ended"],
    )


def _ref(digest: str | None, size: int | None) -> BlobRef | None:
    return None if digest is None or size is None else BlobRef(digest=digest, size=size)
