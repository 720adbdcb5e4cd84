"""What a trial saw, as data, and what of it is wrong, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from federant.exchange import DataKind, ReturnCode

_OWN_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Processes of Python's own that end by themselves when theirs has ended."""


@dataclass(frozen=True, slots=True)
class TensorSeen:
    """An array in a result."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(slots=True)
class TaskSeen:
    """One task, and what came back for it."""

    name: str
    round: int
    """Counted from 0."""
    carried_model: bool
    rc: str = ""
    error: str = ""
    """Why there is no result, in the client job's words."""
    refusal: str = ""
    """Why a server would not take the result, in its words."""
    kind: str = ""
    """Of the result's DXO; empty if there is none."""
    tensors: tuple[TensorSeen, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    """What a result of kind METRICS says, and the metrics that came with weights."""
    bytes: int = 0
    weight: float | None = None
    """The NUM_STEPS_CURRENT_ROUND in the result's meta; None if it is not there."""
    unchanged: bool = False
    """Whether every array is as it was in the task."""
    seconds: float = 0.0
    """From the task's giving to its result; of the first task with the start of the script."""
    peak_bytes: int = 0
    """Memory, resident, of all the trainer's processes."""

    @property
    def title(self) -> str:
        return f"task {self.name} of round {self.round + 1}"


@dataclass(slots=True)
class MetricSeen:
    """What was logged under one tag."""

    tag: str
    count: int = 0
    last: float | str | None = None


@dataclass(slots=True)
class TrialReport:
    """Everything that a trial saw."""

    command: tuple[str, ...]
    joined_seconds: float | None = None
    """From the start of the script until it joined; None if it never did."""
    tasks: list[TaskSeen] = field(default_factory=list)
    metrics: dict[str, MetricSeen] = field(default_factory=dict)
    starts: int = 0
    dropped: list[str] = field(default_factory=list)
    """What was said of metrics that were lost."""
    unasked: list[str] = field(default_factory=list)
    """What was said of tasks that the script did not ask for in good time."""
    ended: str = ""
    """How its process ended; empty where it had to be ended."""
    clean: bool = False
    """Whether that was by itself, with exit status 0."""
    left: tuple[str, ...] = ()
    """Commands of the processes that outlived the script."""
    patience_seconds: float = 0.0
    """How long the end of the script was waited for once the job was over."""
    last_lines: str = ""
    """The end of what the script printed."""

    @property
    def end(self) -> str:
        """How the script ended, in words, also where that was not seen."""
        if self.ended:
            return self.ended
        if not self.starts:
            return "it was never started"
        return "the check ended it, having seen no end of its own"

    @property
    def ok(self) -> bool:
        return not self.problems()

    def problems(self) -> list[str]:
        """What is wrong, and what to do."""
        return [*self._task_problems(), *self._end_problems()]

    def _task_problems(self) -> Iterator[str]:
        for task in self.tasks:
            if task.rc != ReturnCode.OK:
                yield f"{task.title}: {task.rc}" + (f": {task.error}" if task.error else "")
            elif task.refusal:
                yield f"{task.title}: the server would refuse the result: {task.refusal}"

    def _end_problems(self) -> Iterator[str]:
        failed = any(task.rc != ReturnCode.OK for task in self.tasks)
        if failed:
            return  # how it ended is told with that
        if not self.ended and self.starts:
            yield (
                f"the script did not end within {self.patience_seconds:g} s of the job's end, and "
                "was ended: leave the loop when agent.tasks() ends, get_task() raises AgentClosed, "
                "or flare.is_running() is False"
            )
        elif self.ended and not self.clean:
            yield (
                f"after the job's end the script ended with {self.ended}: the end of a job is no "
                "error; take tasks in a loop that ends by itself (agent.tasks(), "
                "flare.is_running()), or except federant.AgentEndException"
            )

    def advice(self) -> list[str]:
        """What is allowed, and may not be meant."""
        return [*self.unasked, *self.dropped, *self._advice()]

    def _advice(self) -> Iterator[str]:
        failed = [task for task in self.tasks if task.rc != ReturnCode.OK]
        if self.joined_seconds is not None and any(not task.carried_model for task in failed):
            yield (
                "the task carried no model, as in a job without an initial one: begin with a model "
                "of your own then, or give one with --model FILE.safetensors"
            )
        weights = [task for task in self.tasks if task.kind in _MODEL_KINDS and not task.refusal]
        if any(task.weight is None for task in weights):
            yield (
                "no NUM_STEPS_CURRENT_ROUND in the result's meta: it counts as 1, as much as any "
                "other site's; set it to the number of examples or steps"
            )
        if any(task.unchanged for task in weights):
            yield (
                "a result has all arrays as they came: is it the trained model that is sent back?"
            )
        others = [part for part in self.left if not any(own in part for own in _OWN_HELPERS)]
        if others:
            yield (
                f"{len(others)} of the script's processes outlived it, and a site ends them: "
                + "; ".join(others)
            )
        if self.starts > 1:
            yield (
                f"the script was started {self.starts} times, because it left before the job's "
                "end: that costs its start each time"
            )

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON has it; rounds are counted from 0."""
        return {
            "ok": self.ok,
            "problems": self.problems(),
            "advice": self.advice(),
            **asdict(self),
            "metrics": [asdict(metric) for metric in self.metrics.values()],
        }


_MODEL_KINDS = (DataKind.WEIGHTS, DataKind.WEIGHT_DIFF)
