"""What a job leaves behind: models, and who put which blob; SQL inside a transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import RowMapping, bindparam, delete, func, insert, select, update

from federant.link.messages import BlobRef, JobSpec, JobState
from federant.server.wakeups import events_topic, job_topic

from .rows import ModelRow
from .tables import blobs, events, jobs, models, tasks
from .transaction import Transaction

_HAS_PUT: Final = select(blobs.c.digest).where(
    blobs.c.owner == bindparam("of"), blobs.c.digest == bindparam("at")
)
_PUT: Final = insert(blobs)
_GOES_ON: Final = jobs.c.state.not_in([state for state in JobState if state.ended])


def save_model(
    tx: Transaction, job_id: str, number: int, blob: BlobRef, metrics: Mapping[str, Any]
) -> None:
    key = (models.c.job_id == job_id) & (models.c.round == number)
    values = {"digest": blob.digest, "size": blob.size, "metrics": dict(metrics)}
    if not tx.conn.execute(update(models).where(key).values(values)).rowcount:
        fresh = insert(models).values(job_id=job_id, round=number, created=tx.now, **values)
        tx.conn.execute(fresh)
    tx.wake(job_topic(job_id), events_topic(job_id))


def models_of(tx: Transaction, job_id: str) -> list[ModelRow]:
    found = select(models).where(models.c.job_id == job_id).order_by(models.c.round)
    return [_model(row) for row in tx.conn.execute(found).mappings()]


def forget_models(tx: Transaction, job_id: str, rounds: Collection[int]) -> None:
    tx.conn.execute(delete(models).where(models.c.job_id == job_id, models.c.round.in_(rounds)))


def put_blob(tx: Transaction, owner: str, blob: BlobRef) -> None:
    if not has_put(tx, owner, blob.digest):
        tx.conn.execute(
            _PUT,
            {"digest": blob.digest, "owner": owner, "size": blob.size, "created": tx.now},
        )


def has_put(tx: Transaction, owner: str, digest: str) -> bool:
    return tx.conn.execute(_HAS_PUT, {"of": owner, "at": digest}).scalar() is not None


def unused_bytes(tx: Transaction, site: str) -> int:
    """Of the site's blobs, those that are no result of its."""
    results = select(tasks.c.result_digest).where(
        tasks.c.site == site, tasks.c.result_digest.is_not(None)
    )
    unused = select(func.coalesce(func.sum(blobs.c.size), 0)).where(
        blobs.c.owner == site, blobs.c.digest.not_in(results)
    )
    return int(tx.conn.execute(unused).scalar_one())


def needed(tx: Transaction) -> set[str]:
    """Digests of all that a job which goes on refers to, and of models and what events show."""
    ids = select(jobs.c.id).where(_GOES_ON)
    found: set[str] = set()
    for column, where in (
        (models.c.digest, None),
        (events.c.blob_digest, None),
        (tasks.c.blob_digest, tasks.c.job_id.in_(ids)),
        (tasks.c.result_digest, tasks.c.job_id.in_(ids)),
    ):
        query = select(column).distinct().where(column.is_not(None))
        found.update(tx.conn.execute(query if where is None else query.where(where)).scalars())
    for spec in tx.conn.execute(select(jobs.c.spec).where(_GOES_ON)).scalars():
        initial = JobSpec.model_validate(spec).initial_model
        if initial is not None:
            found.add(initial.digest)
    return found


def forget_blobs(tx: Transaction, digests: Collection[str]) -> None:
    """Nobody has put them."""
    tx.conn.execute(delete(blobs).where(blobs.c.digest.in_(digests)))


def _model(row: RowMapping) -> ModelRow:
    return ModelRow(
        job_id=row["job_id"],
        round=row["round"],
        blob=BlobRef(digest=row["digest"], size=row["size"]),
        metrics=row["metrics"],
        created=row["created"],
    )
