"""What the server shows an operator of its federation, and what only an operator asks for.

What sites say, and the words that all share, are in ``messages``.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from .messages import BlobRef, JobSpec, JobState, Number, Serial, SinkName, SiteState, WireModel


class JobSiteView(WireModel):
    site: str
    state: SiteState
    text: str = ""
    bytes_up: int = 0
    """Bytes of results that the server took from the site for this job."""
    bytes_down: int = 0
    """Bytes of the data of the tasks whose results were taken; counted once, with the result."""
    metrics_dropped: int = 0
    """Records that the site had to drop, at its trainer or on their way."""


class JobView(WireModel):
    id: str
    spec: JobSpec
    state: JobState
    stop_requested: bool = False
    error: str = ""
    step: int | None = None
    """The number of the workflow's newest step."""
    round: int | None = None
    """The newest round, counted from 0, and the number of rounds, if the workflow counts them."""
    total_rounds: int | None = None
    sites_wanted: int | None = None
    """How many sites must be ready before the workflow goes on; None if it waits for no sites."""
    awaited: tuple[str, ...] = ()
    """The sites whose results the newest step still lacks."""
    sites: tuple[JobSiteView, ...] = ()
    created: float
    started: float | None = None
    ended: float | None = None


class JobDeletedReply(WireModel):
    """What a job had that is gone now."""

    job_id: str
    models: int
    events: int
    """Its metrics and texts."""
    bytes_freed: int
    """Of files on the server's disk; rows of its database leave room for others."""
    bytes_later: int = 0
    """Of files that are so new that they go within a day, unless something needs them by then."""


class JobsReply(WireModel):
    jobs: tuple[JobView, ...]


class EventView(WireModel):
    """What happened in a job, as an operator is told of it: a metric, or a text."""

    seq: int
    """The place of the event in its job; ask for what comes after it."""
    id: str
    site: str
    task: str
    kind: str
    tag: str
    value: Number | None
    step: int | None
    text: str
    time: float
    blob: BlobRef | None = None


class JobEventsReply(WireModel):
    events: tuple[EventView, ...]
    next: int
    """The ``after`` of the next call."""
    job_state: JobState
    more: bool = False
    """More may come: the job goes on, or after its end a site is still at it."""


class MetricView(WireModel):
    """All that a site logged under one tag, in a few numbers."""

    site: str
    """Empty for the server's own."""
    tag: str
    count: int
    last: Number
    """The newest to arrive."""
    least: Number | None
    """None if no value was a number."""
    greatest: Number | None
    first_step: int | None
    """The smallest and the largest step that any of them named."""
    last_step: int | None
    time: float
    """When the newest was logged."""


class SinkView(WireModel):
    """How far one of the job's sinks has come."""

    sink: SinkName
    behind: int
    """How many events it has not been given yet."""
    error: str = ""
    """Why it cannot go on at the moment."""


class MetricsReply(WireModel):
    metrics: tuple[MetricView, ...] = ()
    dropped: dict[str, int] = Field(default_factory=dict)
    """By site, how many records were lost on the way."""
    sinks: tuple[SinkView, ...] = ()


class ModelView(WireModel):
    round: int
    """Counted from 0."""
    blob: BlobRef
    metrics: dict[str, Any] = Field(default_factory=dict)
    created: float


class ModelsReply(WireModel):
    models: tuple[ModelView, ...]


class CertificateView(WireModel):
    """A certificate as the server has seen it."""

    serial: str
    """In lowercase hexadecimal digits."""
    expires: float
    seconds_left: float
    """How long it was still good for when the answer was written; negative once it has ended."""
    last_seen: float | None = None
    """When somebody last called with it; None for the server's own."""
    revoked: bool = False


class SiteView(WireModel):
    name: str
    instance: str
    features: tuple[str, ...] = ()
    first_seen: float
    last_seen: float
    """When it last spoke to the server, to the minute."""
    silent_seconds: float = 0.0
    """How long ago that was when the answer was written."""
    alive: bool = True
    """Whether that is so short a time that the site's daemon must be taken to run."""

    certificates: tuple[CertificateView, ...] = ()
    """Those with which it has called since the server started, the newest to be seen last."""


class SitesReply(WireModel):
    sites: tuple[SiteView, ...]


class StatusReply(WireModel):
    """How the whole federation stands."""

    server_id: str
    version: str
    up_seconds: float
    """How long the server has been running."""
    jobs: dict[JobState, int]
    """How many there are, by state."""
    disk_free_bytes: int | None = None
    keep_free_bytes: int = 0
    """With fewer left, no more is taken from sites and operators."""
    certificate: CertificateView | None = None
    """The server's own; None without TLS."""
    caller: CertificateView | None = None
    """The one with which this was asked."""
    sites: tuple[SiteView, ...] = ()


class RevokeRequest(BaseModel):
    # As with a job: what is mistyped must not be ignored.
    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: Serial
    reason: Annotated[str, Field(max_length=1000)] = ""


class RevocationView(WireModel):
    serial: str
    identity: str
    """Whom the certificate names, if the server had seen it when it was revoked."""
    reason: str
    by: str
    """Which operator revoked it."""
    time: float


class RevocationsReply(WireModel):
    revocations: tuple[RevocationView, ...]


class HealthReply(WireModel):
    status: str
    version: str
    server_id: str
