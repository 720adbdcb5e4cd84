"""What the store hands out and takes in: immutable rows; no SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from federant.link.messages import BlobRef, CommitOutcome, JobSpec, JobState, SiteState

_ALIVE_SECONDS: Final = 90.0
"""A site asks at least each 30 seconds: so many have been missed three times."""


class TaskState(StrEnum):
    QUEUED = "queued"
    LEASED = "leased"
    DONE = "done"
    CANCELLED = "cancelled"

    @property
    def open(self) -> bool:
        return self in (TaskState.QUEUED, TaskState.LEASED)


def task_id(job_id: str, step: int, site: str, number: int = 0) -> str:
    """The id of a step's task for a site: the same each time the workflow is replayed.

    ``number`` tells apart several tasks of one step for one site.  Safe as a message id.
    """
    return f"{job_id}-{step}-{number}-{site}"


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job; ``runner`` runs its workflow until ``lease_until``."""

    id: str
    spec: JobSpec
    state: JobState
    stop_requested: bool
    error: str
    runner: str
    lease_until: float
    created: float
    started: float | None
    ended: float | None


@dataclass(frozen=True, slots=True)
class DeletedJob:
    """What a job that was deleted had: so many models and events, and the digests of its blobs."""

    id: str
    models: int
    events: int
    blobs: frozenset[str]


@dataclass(frozen=True, slots=True)
class SiteRow:
    """A site; it may have spoken up to a minute after ``last_seen``."""

    name: str
    instance: str
    features: tuple[str, ...]
    first_seen: float
    last_seen: float

    def alive(self, now: float) -> bool:
        """Whether the site's daemon must be taken to run: it asks for its jobs all the time."""
        return now - self.last_seen < _ALIVE_SECONDS


@dataclass(frozen=True, slots=True)
class JobSiteRow:
    """A site's part in a job; bytes are those of the tasks that it answered, data and results.

    Each task counts once, however often its bytes were sent.
    """

    job_id: str
    site: str
    state: SiteState
    text: str
    bytes_up: int
    bytes_down: int
    updated: float
    metrics_dropped: int = 0
    events_kept: int = 0


@dataclass(frozen=True, slots=True)
class StepRow:
    """One journaled act of a workflow; ``outcome`` is what it came to, None while it is open."""

    job_id: str
    number: int
    kind: str
    detail: Mapping[str, Any]
    open: bool
    outcome: Mapping[str, Any] | None
    created: float
    closed: float | None


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be queued for a site.

    ``deadline`` is a point in time (seconds since the epoch, server's clock); ``expect`` is what
    its result is validated against.
    """

    id: str
    site: str
    name: str
    headers: Mapping[str, Any] = field(default_factory=dict)
    blob: BlobRef | None = None
    expect: Mapping[str, Any] = field(default_factory=dict)
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task and, once it is done, its result.

    ``seq`` is the place of the commit among all commits of the job; ``attempt`` is 0 until the
    task is first leased; ``error`` is the text that goes with ``rc``, or why it was cancelled.
    """

    id: str
    job_id: str
    step: int
    site: str
    name: str
    headers: Mapping[str, Any]
    blob: BlobRef | None
    expect: Mapping[str, Any]
    deadline: float | None
    state: TaskState
    attempt: int
    holder: str
    lease_until: float
    seq: int | None
    rc: str
    result_headers: Mapping[str, Any]
    result_blob: BlobRef | None
    error: str
    created: float
    ended: float | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a site is told that asks for its next task: the task, if any, and its job."""

    job: JobRow
    task: TaskRow | None


@dataclass(frozen=True, slots=True)
class Commit:
    """What became of a result, and the task as it stands now.

    ``rc`` and ``error`` are those that count: the first result's for a duplicate.
    """

    outcome: CommitOutcome
    rc: str
    error: str
    task: TaskRow

    @property
    def first(self) -> bool:
        """This very call ended the task."""
        return self.outcome in (CommitOutcome.ACCEPTED, CommitOutcome.REFUSED)


@dataclass(frozen=True, slots=True)
class ModelRow:
    """The global model that a job kept after a round."""

    job_id: str
    round: int
    blob: BlobRef
    metrics: Mapping[str, Any]
    created: float


@dataclass(frozen=True, slots=True)
class EventRow:
    """A metric or text; ``seq`` orders the events of all jobs by arrival."""

    seq: int
    id: str
    job_id: str
    site: str
    task: str
    kind: str
    tag: str
    value: float | None
    step: int | None
    text: str
    time: float
    blob: BlobRef | None = None


@dataclass(frozen=True, slots=True)
class MetricRow:
    """All events of kind METRIC that a site has told of under one tag.

    ``least`` and ``greatest`` leave NaN out, and are None where there is nothing else.
    """

    job_id: str
    site: str
    tag: str
    count: int
    last: float
    least: float | None
    greatest: float | None
    first_step: int | None
    last_step: int | None
    time: float


@dataclass(frozen=True, slots=True)
class SinkCursor:
    """How far a sink of a job has come: all events up to ``seq`` are in it.

    ``place`` is the sink's own note of the same moment; ``error`` says why it cannot go on; once
    ``done``, it gets nothing more.
    """

    job_id: str
    sink: str
    seq: int = 0
    place: Mapping[str, Any] = field(default_factory=dict)
    done: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class RevocationRow:
    """A certificate that is good no more: ``identity`` is whom it names, as far as was known."""

    serial: str
    identity: str
    reason: str
    by: str
    time: float
