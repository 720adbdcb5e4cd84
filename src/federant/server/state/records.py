"""What a job leaves behind: models, and who put which blob; SQL inside a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import RowMapping, bindparam, func, insert, select, update

from federant.link.messages import BlobRef
from federant.server.wakeups import events_topic, job_topic

from .rows import ModelRow
from .tables import blobs, models, tasks
from .transaction import Transaction

_HAS_PUT: Final = select(blobs.c.digest).where(
    blobs.c.owner == bindparam("of"), blobs.c.digest == bindparam("at")
)
_PUT: Final = insert(blobs)


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


def _model(row: RowMapping) -> ModelRow:
    return ModelRow(
        job_id=row["job_id"],
        round=row["round"],
        blob=BlobRef(digest=row["digest"], size=row["size"]),
        metrics=row["metrics"],
        created=row["created"],
    )
