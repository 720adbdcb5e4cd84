"""What a trial saw, as data, and what of it is wrong, each with what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from federant.exchange import DataKind, ReturnCode

_OWN_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Processes of Python's own that end by themselves when theirs has ended."""

_WARNING = re.compile(r"^.*\b\w*Warning: .+$", re.MULTILINE)
"""As Python shows one."""
_WARNINGS_TOLD = 5


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

    @property
    def outcome(self) -> str:
        """What came of it in a word: what is wrong with the result, or what it is."""
        return self.rc if self.rc != ReturnCode.OK else self.refusal_code or self.kind or self.rc

    @property
    def refusal_code(self) -> str:
        return self.refusal.partition(":")[0]


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
                between = ":\n" if task.error.startswith("Traceback") else ": "
                yield f"{task.title}: {task.rc}" + (between + task.error if task.error else "")
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

    def untold_lines(self) -> str:
        """The end of what the script printed, without what the problems quote of it."""
        told = {line for text in self.problems() for line in text.split("\n")}
        title, *lines = self.last_lines.rstrip().split("\n")
        rest = [line for line in lines if line not in told]
        return "\n".join([title, *rest]) if any(map(str.strip, rest)) else ""

    def advice(self) -> list[str]:
        """What is allowed, and may not be meant."""
        return [*self.unasked, *self.dropped, *self._advice(), *self._warnings()]

    def _warnings(self) -> Iterator[str]:
        warnings = dict.fromkeys(_WARNING.findall(self.last_lines))
        for text in list(warnings)[-_WARNINGS_TOLD:]:
            yield f"the script warned: {text}"

    def _advice(self) -> Iterator[str]:
        # One that takes too long does not lack a model.
        fine = (ReturnCode.OK, ReturnCode.TASK_TIMEOUT)
        failed = [task for task in self.tasks if task.rc not in fine]
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
                "a result has all arrays as they came: is it the trained model that is sent back, "
                "and does its training go on from the model that it received, or begin anew?"
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
        """All of it as JSON has it; rounds are counted from 0.

        What JSON has no number for is "NaN", "Infinity" or "-Infinity".
        """
        report = {
            "ok": self.ok,
            "problems": self.problems(),
            "advice": self.advice(),
            **asdict(self),
            "metrics": [asdict(metric) for metric in self.metrics.values()],
        }
        return {name: _strict(value) for name, value in report.items()}


_MODEL_KINDS = (DataKind.WEIGHTS, DataKind.WEIGHT_DIFF)


def _strict(value: Any) -> Any:
    """The value without numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _strict(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
