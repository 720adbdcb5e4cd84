"""The server's durable state: the store and its rows."""

from .errors import ConflictError, NotYoursError, StateError, UnknownRowError
from .rows import (
    Commit,
    DeletedJob,
    EventRow,
    JobRow,
    JobSiteRow,
    MetricRow,
    ModelRow,
    NewTask,
    Offer,
    RevocationRow,
    SinkCursor,
    SiteRow,
    StepRow,
    TaskRow,
    TaskState,
    task_id,
)
from .store import Store
from .transaction import Durability

__all__ = [
    "Commit",
    "ConflictError",
    "DeletedJob",
    "Durability",
    "EventRow",
    "JobRow",
    "JobSiteRow",
    "MetricRow",
    "ModelRow",
    "NewTask",
    "NotYoursError",
    "Offer",
    "RevocationRow",
    "SinkCursor",
    "SiteRow",
    "StateError",
    "StepRow",
    "Store",
    "TaskRow",
    "TaskState",
    "UnknownRowError",
    "task_id",
]
