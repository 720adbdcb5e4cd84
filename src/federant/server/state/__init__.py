"""The server's durable state: the store and its rows."""

from .errors import ConflictError, NotYoursError, StateError, UnknownRowError
from .rows import (
    Commit,
    EventRow,
    JobRow,
    JobSiteRow,
    ModelRow,
    NewTask,
    Offer,
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
    "Durability",
    "EventRow",
    "JobRow",
    "JobSiteRow",
    "ModelRow",
    "NewTask",
    "NotYoursError",
    "Offer",
    "SiteRow",
    "StateError",
    "StepRow",
    "Store",
    "TaskRow",
    "TaskState",
    "UnknownRowError",
    "task_id",
]
