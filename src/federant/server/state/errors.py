"""The errors of the server's state, as one tree.

StateError
├── UnknownRowError      no such job, task, step or model
├── NotYoursError        the row belongs to another site or runner
└── ConflictError        the change contradicts what is stored
"""

from __future__ import annotations


class StateError(Exception):
    """Base of what the store raises on its own account."""


class UnknownRowError(StateError, LookupError):
    """Nothing is stored under that name."""


class NotYoursError(StateError):
    """The row is another's: of another site, or under another runner's lease."""


class ConflictError(StateError):
    """The change cannot be made to what is stored."""
