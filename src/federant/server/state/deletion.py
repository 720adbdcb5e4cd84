"""Deleting a job: hidden at once, its rows removed some at a time; SQL inside a transaction.

The row in ``jobs`` stays, without what the job was: its id is never given to another job, which
sites and sinks would take for the one that they know.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Select, delete, exists, func, or_, select, update

from federant.server.wakeups import EVENTS_TOPIC, events_topic

from . import jobs, records
from .errors import ConflictError
from .rows import DeletedJob
from .tables import events, job_sites, metrics, models, sink_cursors, steps, tasks
from .tables import jobs as job_table
from .transaction import Transaction

_FEW: Final = (models, sink_cursors, job_sites)
"""Tables that have some rows of a job, not thousands."""
_MANY: Final = (
    (events, events.c.seq),
    (metrics, metrics.c.tag),
    (tasks, tasks.c.id),
    (steps, steps.c.number),
)
"""The others, tasks before the steps that they belong to, each with what tells its rows apart."""
_AT_ONCE: Final = 500
"""SQL takes so many values in one statement."""


def mark(tx: Transaction, job_id: str) -> DeletedJob:
    """Hide the job for good; the rows that it has many of are left to ``purge``."""
    job = jobs.get(tx, job_id)
    if not job.state.ended:
        raise ConflictError(_still_runs(job_id, str(job.state), stopping=job.stop_requested))
    blobs = _blobs_of(tx, job_id)
    if job.spec.initial_model is not None:
        blobs.add(job.spec.initial_model.digest)
    counted = {table: _count(tx, table, job_id) for table in (models, events)}
    for table in _FEW:
        tx.conn.execute(delete(table).where(table.c.job_id == job_id))
    nothing: dict[str, Any] = {"deleted": tx.now, "spec": {}, "error": ""}
    tx.conn.execute(update(job_table).where(job_table.c.id == job_id).values(nothing))
    tx.wake(events_topic(job_id), EVENTS_TOPIC)
    return DeletedJob(job_id, counted[models], counted[events], frozenset(blobs))


def unpurged(tx: Transaction) -> list[str]:
    """The deleted jobs of which rows are left."""
    left = or_(*(exists().where(table.c.job_id == job_table.c.id) for table, _ in _MANY))
    found = select(job_table.c.id).where(job_table.c.deleted.is_not(None), left)
    return list(tx.conn.execute(found.order_by(job_table.c.number)).scalars())


def purge(tx: Transaction, job_id: str, most: int) -> bool:
    """Remove some rows of a deleted job, of one table; whether there were any."""
    for table, key in _MANY:
        of_job = table.c.job_id == job_id
        some = select(key).where(of_job).limit(most)
        if tx.conn.execute(delete(table).where(of_job, key.in_(some))).rowcount:
            return True
    return False


def forget_unneeded(tx: Transaction, digests: Collection[str]) -> list[str]:
    """Those of the blobs that nothing needs; nobody has put them any more."""
    unneeded = sorted(set(digests) - records.needed(tx))
    for at in range(0, len(unneeded), _AT_ONCE):
        records.forget_blobs(tx, unneeded[at : at + _AT_ONCE])
    return unneeded


def _still_runs(job_id: str, state: str, *, stopping: bool) -> str:
    if stopping:
        return (
            f"job {job_id} was asked to stop and has not ended yet (it is {state}); delete it when "
            f"it has: federant job follow {job_id} waits for that"
        )
    return (
        f"job {job_id} is {state}, and only one that has ended is deleted; let it end, or stop it "
        f"first: federant job stop {job_id}"
    )


def _blobs_of(tx: Transaction, job_id: str) -> set[str]:
    """Digests of all that the job's rows refer to."""
    found: set[str] = set()
    for column in (
        models.c.digest,
        events.c.blob_digest,
        tasks.c.blob_digest,
        tasks.c.result_digest,
    ):
        of_job: Select[Any] = select(column).where(
            column.table.c.job_id == job_id, column.is_not(None)
        )
        found.update(tx.conn.execute(of_job.distinct()).scalars())
    return found


def _count(tx: Transaction, table: Any, job_id: str) -> int:
    found = select(func.count()).where(table.c.job_id == job_id)
    return int(tx.conn.execute(found).scalar_one())
