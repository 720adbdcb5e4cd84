"""What sites and server say to each other, and the words that operators share; no input or output.

With those in ``operator_messages`` these models are every body of a request or an answer under
``/link/v1`` and ``/api/v1``; the OpenAPI description is made from them.  Tensors never travel in
here: they are blobs, named by digest.  Times are seconds: points in time since the epoch on the
server's clock, and durations.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

PROTOCOL: Final = "federant.link"
VERSION: Final = 1
FEATURES: Final[tuple[str, ...]] = ("blob-range", "blob-resume", "event-blobs", "long-poll")

VERSION_HEADER: Final = "federant-link"
"""Header of every link call, and of the operator's that change something: the version spoken."""
SITE_HEADER: Final = "federant-site"
"""Header of every link call: the caller's name, which its certificate has to say too."""

LINK_PREFIX: Final = "/link/v1"
API_PREFIX: Final = "/api/v1"

MAX_WAIT_SECONDS: Final = 60.0
"""The longest that one long poll waits at the server."""

MAX_MESSAGE_BYTES: Final = 16 << 20
"""The longest body of a message that a server reads; blobs are no messages."""
MAX_EVENTS: Final = 1000
"""How many events one message may bring."""
MAX_TEXT_CHARS: Final = 20_000
"""The longest text of an event, and of what a site says about a job."""
MAX_EVENT_BLOB_BYTES: Final = 20 << 20
"""The largest blob that an event may refer to: an image, or a text that is longer than its own."""
MAX_HEADERS_CHARS: Final = 256 * 1024
"""The most that all headers of a result may come to, as JSON."""

NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
NAME_RULE: Final = "a letter or digit, then up to 63 letters, digits, '-' or '_'"
"""The pattern for people."""

SERVER_NAME: Final = "server"
"""Under it a workflow's own metrics and models stand beside those of the sites; no site may have
it."""

Name = Annotated[str, StringConstraints(pattern=rf"^{NAME_PATTERN}$")]
"""What a site, a job or a trainer may be called: safe as the name of a folder, and without dots,
which separate the parts of a cell's name.  The one definition, with ``is_name``."""
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Serial = Annotated[str, StringConstraints(pattern=r"^[1-9a-f][0-9a-f]{0,39}$")]
"""A certificate's serial number: lowercase hexadecimal digits, without zeros in front."""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Wait = Annotated[float, Field(ge=0, le=MAX_WAIT_SECONDS, allow_inf_nan=False)]
Lease = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Number = Annotated[
    float,
    WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]},
    ),
]
"""A float that may be no number or infinite: JSON then has it as text."""


def is_name(text: str) -> bool:
    """Whether a site, a job or a trainer may be called that."""
    return re.fullmatch(NAME_PATTERN, text) is not None


def _bounded(headers: dict[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(headers, ensure_ascii=False, default=str))
    if size > MAX_HEADERS_CHARS:
        raise ValueError(
            f"they come to {size} characters as JSON, and {MAX_HEADERS_CHARS} are allowed; "
            "what is large belongs into the body"
        )
    return headers


ResultHeaders = Annotated[dict[str, Any], AfterValidator(_bounded)]


class ErrorCode(StrEnum):
    """Why a call was refused; each comes with a sentence."""

    BAD_REQUEST = "bad_request"
    UNKNOWN_VERSION = "unknown_version"
    NO_SITE = "no_site"
    NO_CERTIFICATE = "no_certificate"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_REVOKED = "certificate_revoked"
    WRONG_IDENTITY = "wrong_identity"
    """The certificate is good, and its holder is not one who may call that."""
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    BLOB_MISSING = "blob_missing"
    BLOB_OFFSET = "blob_offset"
    BLOB_DIGEST = "blob_digest"
    BLOB_SUPERSEDED = "blob_superseded"
    TOO_LARGE = "too_large"
    NO_SPACE = "no_space"
    OVER_QUOTA = "over_quota"
    """The caller has put as much that is no result as one may."""
    TOO_MANY_CONNECTIONS = "too_many_connections"
    """Of the caller's certificate there are as many as one may have."""
    NOT_READY = "not_ready"
    INTERNAL = "internal"


CALLER_CODES: Final = frozenset(
    {
        ErrorCode.NO_SITE,
        ErrorCode.NO_CERTIFICATE,
        ErrorCode.CERTIFICATE_EXPIRED,
        ErrorCode.CERTIFICATE_REVOKED,
        ErrorCode.WRONG_IDENTITY,
    }
)
"""Who called was refused, and not what it said: that may be taken once its kit is put right."""


class JobState(StrEnum):
    """Where a job stands; the last three are final."""

    SUBMITTED = "submitted"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def ended(self) -> bool:
        return self in (JobState.FINISHED, JobState.FAILED, JobState.STOPPED)


class SiteJobState(StrEnum):
    """What a site is to do about a job."""

    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


class SiteState(StrEnum):
    """What a site said about a job; ``pending`` until it said something."""

    PENDING = "pending"
    READY = "ready"
    REFUSED = "refused"
    FAILED = "failed"
    ENDED = "ended"

    @property
    def gone(self) -> bool:
        """The site does no more work for the job, unless it says ``ready`` again."""
        return self in (SiteState.REFUSED, SiteState.FAILED, SiteState.ENDED)


class HoldState(StrEnum):
    """What became of the task that a client job renews its hold on."""

    HELD = "held"
    CANCELLED = "cancelled"
    DONE = "done"


class EventKind(StrEnum):
    """What an event tells; sites may have kinds of their own, which are read as texts."""

    METRIC = "METRIC"
    """A number, in ``value``."""
    TEXT = "TEXT"
    IMAGE = "IMAGE"
    """A PNG file, as ``blob``."""
    PARAMETER = "PARAMETER"
    """What the training is like: ``text`` is the value of the parameter that ``tag`` names."""
    TAG = "TAG"
    """As PARAMETER, of the run; the last one counts."""
    STATUS = "STATUS"
    """How the job stands at the site: ``tag`` is the state, ``text`` is for people.  Of the server
    itself with the tag ``round``: whom a round asks, and how many results came of it."""
    DROPPED = "DROPPED"
    """So many (``value``) records were lost; ``tag`` says where. Each is told of once."""


class SinkName(StrEnum):
    """Where a job's metrics may go on to, beside the server's own tables."""

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    WANDB = "wandb"
    PROMETHEUS = "prometheus"


class CommitOutcome(StrEnum):
    """What became of a committed result; after each of them the site may forget the result."""

    ACCEPTED = "accepted"
    """Stored, and in the workflow's hands."""
    DUPLICATE = "duplicate"
    """The task had a result already; ``rc`` and ``error`` are those of the first."""
    REFUSED = "refused"
    """Not valid for its task; ``rc`` names why and the task has ended with it."""
    LATE = "late"
    """The task was cancelled, or its step had ended, before the result came."""


class WireModel(BaseModel):
    """Base of all messages: immutable; unknown fields of a newer peer are ignored."""

    # A loss that is not a number must arrive as one: JSON itself has no word for it.
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")


class ErrorBody(WireModel):
    """The body of every answer that is not a success."""

    code: str
    message: str


class BlobRef(WireModel):
    """A blob by what it is: BLAKE3 digest in hex, and size in bytes."""

    digest: Digest
    size: Annotated[int, Field(ge=0, lt=1 << 63)]


# ---- link: hello and jobs -------------------------------------------------------------------


class HelloRequest(WireModel):
    version: int
    features: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    site: Name
    instance: Annotated[str, Field(max_length=200)] = ""
    """The place where the site's daemon works: the same each time that it is started there.

    Two daemons that go by one name are told apart by it; empty is told apart from none.
    """


class HelloReply(WireModel):
    version: int
    features: tuple[str, ...]
    server_id: str


class NextJobsRequest(WireModel):
    known: Annotated[dict[str, SiteJobState], Field(max_length=10_000)] = Field(
        default_factory=dict
    )
    wait_seconds: Wait = 0.0
    revocations: Annotated[str, Field(max_length=200)] | None = None
    """The version of the revocations that the site knows, empty for none; a site without a relay
    does not ask."""


class SiteJob(WireModel):
    """A job as one of its sites needs to know it."""

    job_id: str
    name: str
    trainer: str
    params: dict[str, Any] = Field(default_factory=dict)
    state: SiteJobState


class RevokedSerials(WireModel):
    """All certificates of the federation that were revoked until now."""

    version: str
    """Another one whenever there are more."""
    serials: tuple[Serial, ...]


class NextJobsReply(WireModel):
    jobs: tuple[SiteJob, ...] = ()
    revoked: RevokedSerials | None = None
    """None: not asked for, or the site knows them all."""


class SiteStateRequest(WireModel):
    state: SiteState
    text: Text = ""


class Done(WireModel):
    """The answer of a call that has nothing to tell but that it took effect."""

    ok: bool = True


# ---- link: tasks and results ----------------------------------------------------------------


class NextTaskRequest(WireModel):
    holder: Annotated[str, Field(min_length=1, max_length=200)]
    """Who asks: one client job process."""
    holding: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    """Tasks that the caller has in hand and does not want again."""
    lease_seconds: Lease = 60.0
    wait_seconds: Wait = 0.0


class TaskMessage(WireModel):
    """A task as it travels to its site; its body is the blob (a frame), if it has one."""

    task_id: str
    attempt: int
    name: str
    headers: dict[str, Any] = Field(default_factory=dict)
    blob: BlobRef | None = None
    deadline_seconds: Seconds | None = None
    """What is left of the task's time when the answer is written."""


class NextTaskReply(WireModel):
    task: TaskMessage | None = None
    job_state: SiteJobState


class RenewRequest(WireModel):
    holder: Annotated[str, Field(min_length=1, max_length=200)]
    lease_seconds: Lease = 60.0
    wait_seconds: Wait = 0.0


class RenewReply(WireModel):
    state: HoldState
    reason: str = ""


class ResultRequest(WireModel):
    attempt: Annotated[int, Field(ge=0, lt=1 << 31)]
    rc: Annotated[str, Field(min_length=1, max_length=200)]
    headers: ResultHeaders = Field(default_factory=dict)
    blob: BlobRef | None = None


class ResultReply(WireModel):
    outcome: CommitOutcome
    rc: str
    error: str = ""


# ---- link: blobs and events -----------------------------------------------------------------


class MissingRequest(WireModel):
    blobs: Annotated[tuple[BlobRef, ...], Field(max_length=1000)]


class MissingBlob(WireModel):
    digest: Digest
    offset: int
    """Bytes of it that are there already, from a transfer that was cut."""


class MissingReply(WireModel):
    missing: tuple[MissingBlob, ...]


def _small(blob: BlobRef) -> BlobRef:
    if blob.size > MAX_EVENT_BLOB_BYTES:
        raise ValueError(
            f"it has {blob.size} bytes, and what an event refers to may have {MAX_EVENT_BLOB_BYTES}"
        )
    return blob


class Event(WireModel):
    """A metric or a line of text from a site; ``id`` is the site's own and makes it count once."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Annotated[str, Field(max_length=100)]
    """What it is: an EventKind, or another of the site's kinds."""
    tag: Annotated[str, Field(max_length=1000)] = ""
    value: Number | None = None
    step: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    text: Text = ""
    time: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """When it happened, on the clock of whoever saw it; the server's time of arrival if absent."""
    task: Annotated[str, Field(max_length=200)] = ""
    blob: Annotated[BlobRef, AfterValidator(_small)] | None = None
    """An image, or the whole of a text that ``text`` has the beginning of; put before by the same
    site."""


class EventsRequest(WireModel):
    events: Annotated[tuple[Event, ...], Field(max_length=MAX_EVENTS)]


# ---- jobs -----------------------------------------------------------------------------------


class JobSpec(BaseModel):
    """What an operator submits: a workflow, its parameters, and what each site runs."""

    # A mistyped field of a job must not be ignored.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    workflow: Annotated[str, Field(min_length=1, max_length=200)] = "fedavg"
    params: dict[str, Any] = Field(default_factory=dict)
    trainer: Annotated[str, Field(min_length=1, max_length=200)]
    """The name under which each site's own file lists the command to start."""
    sites: tuple[Name, ...] = ()
    """The sites that take part; empty means every site that the server knows or comes to know, each
    from when it is ready."""
    initial_model: BlobRef | None = None
    sinks: tuple[SinkName, ...] = ()
    """Where its metrics go on to; what that is like is said by the server's operator."""
