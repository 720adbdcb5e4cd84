"""The tables of the server's state, for SQLite and PostgreSQL; migrations make them, not this."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect


class FloatText(TypeDecorator[float]):
    """A float kept as text, because SQLite turns one that is not a number into NULL."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: float | None, _dialect: Dialect) -> str | None:
        return None if value is None else repr(float(value))

    def process_result_value(self, value: Any | None, _dialect: Dialect) -> float | None:
        return None if value is None else float(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("number", Integer, nullable=False, unique=True),  # order of submission
    Column("spec", JSON, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("stop_requested", Boolean, nullable=False),
    Column("error", Text, nullable=False),
    Column("runner", String(200), nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("created", Double, nullable=False),
    Column("started", Double),
    Column("ended", Double),
    Column("deleted", Double),  # nothing of it is shown from then on
)

sites = Table(
    "sites",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("instance", String(200), nullable=False),
    Column("features", JSON, nullable=False),
    Column("first_seen", Double, nullable=False),
    Column("last_seen", Double, nullable=False),
)

job_sites = Table(
    "job_sites",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.id"), primary_key=True),
    # No key to sites: a job may name a site that has not said hello yet.
    Column("site", String(64), primary_key=True, index=True),
    Column("state", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("bytes_up", BigInteger, nullable=False),
    Column("bytes_down", BigInteger, nullable=False),
    Column("updated", Double, nullable=False),
    Column("metrics_dropped", BigInteger, nullable=False),
    Column("events_kept", BigInteger, nullable=False),  # nobody could wait until they are counted
)

steps = Table(
    "steps",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", String(100), nullable=False),
    Column("detail", JSON, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("outcome", JSON(none_as_null=True)),
    Column("created", Double, nullable=False),
    Column("closed", Double),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("job_id", String(64), nullable=False),
    Column("step", Integer, nullable=False),
    Column("site", String(64), nullable=False),
    Column("number", Integer, nullable=False),  # order of queueing within the job
    Column("name", String(200), nullable=False),
    Column("headers", JSON, nullable=False),
    Column("blob_digest", String(64)),
    Column("blob_size", BigInteger),
    Column("expect", JSON, nullable=False),
    Column("deadline", Double),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("holder", String(200), nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("seq", Integer),
    Column("rc", String(200), nullable=False),
    Column("result_headers", JSON, nullable=False),
    Column("result_digest", String(64)),
    Column("result_size", BigInteger),
    Column("error", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("ended", Double),
    ForeignKeyConstraint(["job_id", "step"], ["steps.job_id", "steps.number"]),
    UniqueConstraint("job_id", "seq"),
    Index(None, "job_id", "step"),
    Index(None, "job_id", "site", "state"),
    Index(None, "site", "blob_digest"),
)

# What each owner has put there: a site may only name in a result what it has itself sent.
blobs = Table(
    "blobs",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created", Double, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.id"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("created", Double, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(200), nullable=False),
    Column("job_id", String(64), ForeignKey("jobs.id"), nullable=False),
    Column("site", String(64), nullable=False),
    Column("task", String(200), nullable=False),
    Column("kind", String(100), nullable=False),
    Column("tag", Text, nullable=False),
    Column("value", FloatText),
    Column("step", BigInteger),
    Column("text", Text, nullable=False),
    Column("time", Double, nullable=False),
    Column("blob_digest", String(64)),
    Column("blob_size", BigInteger),
    UniqueConstraint("job_id", "site", "id"),
    Index(None, "job_id", "seq"),
    # Few events refer to a blob: which ones are needed must not take a look at millions.
    Index(None, "blob_digest"),
    sqlite_autoincrement=True,
)

# All events of kind METRIC in a few numbers, kept up to date with each of them: nobody could wait
# until millions of rows have been looked at.
metrics = Table(
    "metrics",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.id"), primary_key=True),
    Column("site", String(64), primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last", FloatText, nullable=False),
    Column("least", FloatText),
    Column("greatest", FloatText),
    Column("first_step", BigInteger),
    Column("last_step", BigInteger),
    Column("time", Double, nullable=False),
)

# How far each of a job's sinks has come in its events.
sink_cursors = Table(
    "sink_cursors",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.id"), primary_key=True),
    Column("sink", String(32), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("place", JSON, nullable=False),  # the sink's own note, of the same moment as seq
    Column("done", Boolean, nullable=False),
    Column("error", Text, nullable=False),
    Column("updated", Double, nullable=False),
)

revocations = Table(
    "revocations",
    metadata,
    Column("serial", String(40), primary_key=True),  # in lowercase hexadecimal digits
    Column("identity", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("time", Double, nullable=False),
)
