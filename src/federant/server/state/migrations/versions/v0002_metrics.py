"""Metrics: their summaries, what events refer to, what was dropped, and how far the sinks are."""

import math
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("events", sa.Column("blob_digest", sa.String(length=64), nullable=True))
    op.add_column("events", sa.Column("blob_size", sa.BigInteger(), nullable=True))
    op.add_column(
        "job_sites",
        sa.Column("metrics_dropped", sa.BigInteger(), nullable=False, server_default="0"),
    )
    metrics = op.create_table(
        "metrics",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.String(length=32), nullable=False),
        sa.Column("least", sa.String(length=32), nullable=True),
        sa.Column("greatest", sa.String(length=32), nullable=True),
        sa.Column("first_step", sa.BigInteger(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.Column("time", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_metrics_job_id")),
        sa.PrimaryKeyConstraint("job_id", "site", "tag", name=op.f("pk_metrics")),
    )
    op.create_table(
        "sink_cursors",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("sink", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.JSON(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_sink_cursors_job_id")),
        sa.PrimaryKeyConstraint("job_id", "sink", name=op.f("pk_sink_cursors")),
    )
    found = _summaries()
    if found:
        op.bulk_insert(metrics, found)


def _summaries() -> list[dict[str, Any]]:
    """Of what earlier servers have stored."""
    rows = op.get_bind().execute(
        sa.text(
            "SELECT job_id, site, tag, value, step, time FROM events "
            "WHERE kind = 'METRIC' AND value IS NOT NULL ORDER BY seq"
        )
    )
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    bounds: dict[tuple[str, str, str], tuple[list[Any], list[Any]]] = {}
    for job_id, site, tag, value, step, time in rows:
        key = job_id, site, tag
        entry = found.setdefault(key, dict(zip(("job_id", "site", "tag"), key, strict=True)))
        values, steps = bounds.setdefault(key, ([], []))
        values[:] = _ends([*values, float(value)] if not math.isnan(float(value)) else values)
        steps[:] = _ends(steps if step is None else [*steps, step])
        entry |= {
            "count": entry.get("count", 0) + 1,
            "last": value,
            "least": repr(values[0]) if values else None,
            "greatest": repr(values[-1]) if values else None,
            "first_step": steps[0] if steps else None,
            "last_step": steps[-1] if steps else None,
            "time": time,
        }
    return list(found.values())


def _ends(numbers: list[Any]) -> list[Any]:
    return [min(numbers), max(numbers)] if numbers else []
