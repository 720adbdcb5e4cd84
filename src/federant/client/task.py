"""The task as a trainer sees it; how it came and how it is answered is the agent's business."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Task:
    """One piece of work for this site."""

    def __init__(
        self,
        task_name: str,
        task_id: str,
        data: Any,
        *,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        self.task_name = task_name
        """What to do: the name that the workflow gave, e.g. ``train``."""
        self.task_id = task_id
        """Which task this is; the same for every attempt at it."""
        self.data = data
        """What to do it with: a DXO, unless the agent's conversion is overridden."""
        self.headers: Mapping[str, Any] = headers or {}
        """What came with it, by HeaderKey: the round, the number of the attempt."""
        self.cancelled = False
        """True once nobody waits for the result any more (abort, deadline, end of the job).

        A long training loop may look at it and stop early.
        """

    def __str__(self) -> str:
        return f"'{self.task_name} {self.task_id}'"

    def __repr__(self) -> str:
        return f"Task(task_name={self.task_name!r}, task_id={self.task_id!r})"
