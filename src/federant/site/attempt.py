"""What one try at a task has come to, from facts and the time; no thread, pipe or clock here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from federant.site.journal import OpenTask
from federant.site.launcher import Exit

SETTLE_SECONDS = 0.5
"""How far the news of a process's end and of its pipe's end may lie apart."""

CRASH_SECONDS = 5.0
"""How long a process that dies of an exception may take to end."""


_HOW_TO_READ = "Does it call federant.join() and get_task(), or flare.init() and flare.receive()?"


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """How long what is waited for, in seconds; None = no limit."""

    peer_read_timeout: float | None = 60.0
    """Until a trainer has read the task."""
    task_wait_time: float | None = None
    """From the start of the task until its result."""
    stalled_after: float = 60.0
    """Silence of a living trainer until it is shown as stalled."""
    stall_limit: float | None = None
    """Silence of a living trainer until it is ended."""
    heartbeat_interval: float = 5.0
    longer: str = "the round's timeout, or task_timeout_seconds in the site's file"
    """What to raise for more of task_wait_time, in words for people."""


class End(Enum):
    """How an attempt ended without a result."""

    TIMEOUT = auto()
    """The task's time is over."""
    ABSENT = auto()
    """Nobody read it."""
    DIED = auto()
    """Whoever had it, or was to have it, is dead."""
    LEFT = auto()
    """Whoever had it went away in peace: another one may have it."""
    STUCK = auto()
    """Whoever has it will not go on, nor go away: it is to be ended."""


@dataclass(frozen=True, slots=True)
class Left:
    """The trainer's end of the pipe went away."""

    clean: bool
    text: str
    time: float


@dataclass(frozen=True, slots=True)
class Crash:
    """What the trainer said when it died of an exception."""

    text: str
    time: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the trainer at one moment."""

    external: bool
    """Somebody else starts it, so nothing is known of its process."""
    exit: Exit | None = None
    left: Left | None = None
    crash: Crash | None = None
    last_sign: float = 0.0
    """When bytes last came from it."""


@dataclass(slots=True)
class Attempt:
    """One try at a task with one trainer. All times are on one clock, given by the caller."""

    task: OpenTask
    limits: ExchangeLimits
    begun: float
    deadline: float | None = None
    read_at: float | None = None
    """When a trainer read the task; set by the caller."""
    text: str = ""
    """Once it has ended: what happened, for a person."""
    unreadable: str = ""
    """Why the trainer could not read the task when it got it, in its own words."""
    stalled: bool = False
    """Whether the trainer is silent for so long that a person should know."""
    _exit_seen: float | None = None
    _reconnecting: Left | None = None
    _looks: list[float] = field(default_factory=list)

    def look(self, now: float, facts: Facts) -> End | None:
        """How the attempt has ended; None while it goes on."""
        self._looks.clear()
        if self.deadline is not None and self._is_due(self.deadline, now):
            self.text = self._timed_out()
            return End.TIMEOUT
        left = facts.left
        if left is not None and left.time < facts.last_sign:
            left = None  # who left was another trainer than the one that shows life, or is back
        if facts.exit is not None:
            return self._look_at_exit(now, facts.exit, left)
        if facts.crash is not None:
            return self._look_at_crash(now, facts.crash, facts.external)
        if self.read_at is None:
            return self._look_for_reader(now)
        if left is not None and left is not self._reconnecting:
            end = self._look_at_leaving(now, left, facts.external)
            if end is not None:
                return end
        return self._look_for_stall(now, max(self.read_at, facts.last_sign))

    def seconds(self, now: float) -> float | None:
        """After which time the next look can find something new without another fact."""
        return max(0.0, min(self._looks) - now) if self._looks else None

    def _is_due(self, moment: float, now: float) -> bool:
        if now >= moment:
            return True
        self._looks.append(moment)
        return False

    def _look_at_exit(self, now: float, ended: Exit, left: Left | None) -> End | None:
        # The pipe tells of its end after all that came through it, so a result at hand beats
        # the news that its sender is gone. Where the pipe never had the trainer, time decides.
        if self._exit_seen is None:
            self._exit_seen = now
        if left is None and not self._is_due(self._exit_seen + SETTLE_SECONDS, now):
            return None
        had = "before it had read" if self.read_at is None else "with"
        self.text = f"the trainer ended {had} task {self.name}{self._in_hand}: {ended}"
        if not ended.clean:
            return End.DIED
        self.text += f"; {self._left_undone}"
        return End.LEFT

    def _look_at_crash(self, now: float, crash: Crash, external: bool) -> End | None:
        self.text = f"the trainer crashed with task {self.name} in hand:\n{crash.text}"
        if external:
            # If it has other processes that crashed, they say why at about the same time.
            return End.DIED if self._is_due(crash.time + SETTLE_SECONDS, now) else None
        # Its exit follows, and says more; unless somebody caught the exception after all.
        return End.STUCK if self._is_due(crash.time + CRASH_SECONDS, now) else None

    def _look_at_leaving(self, now: float, left: Left, external: bool) -> End | None:
        self.text = f"the trainer left with task {self.name}{self._in_hand}: {left.text}"
        if left.clean:
            self.text += f"; {self._left_undone}"
        if external:
            return End.LEFT if left.clean else End.DIED
        if not self._is_due(left.time + SETTLE_SECONDS, now):
            return None
        if left.clean:
            return End.LEFT
        # Its process lives and said no goodbye: its agent will be back, and still has the task.
        self._reconnecting = left
        return None

    def _look_for_reader(self, now: float) -> End | None:
        timeout = self.limits.peer_read_timeout
        if timeout is None or not self._is_due(self.begun + timeout, now):
            return None
        hint = (
            f"The trainer got it and could not read it: {self.unreadable}"
            if self.unreadable
            else _HOW_TO_READ
        )
        self.text = (
            f"no trainer read task {self.name} within {timeout:g} s "
            f"(read_timeout_seconds in the site's file). {hint}"
        )
        return End.ABSENT

    def _look_for_stall(self, now: float, last_sign: float) -> End | None:
        self.stalled = self._is_due(last_sign + self.limits.stalled_after, now)
        limit = self.limits.stall_limit
        if limit is not None and self._is_due(last_sign + limit, now):
            self.text = (
                f"the trainer had task {self.name} in hand and gave no sign of life for "
                f"{now - last_sign:.0f} s (stall_limit_seconds in the site's file), so it was ended"
            )
            return End.STUCK
        if self.stalled:
            # Its next sign of life is no event: look for it now and then.
            self._looks.append(now + self.limits.stalled_after)
        return None

    def _timed_out(self) -> str:
        has, advice = "has it in hand", "Raise"
        if self.read_at is None:
            has, advice = "has not even read it", f"{_HOW_TO_READ} Else raise"
        return (
            f"no result of task {self.name} within its time; the trainer {has}. "
            f"{advice} {self.limits.longer}"
        )

    @property
    def name(self) -> str:
        return f"{self.task.name} {self.task.task_id} (attempt {self.task.attempt})"

    @property
    def _in_hand(self) -> str:
        return "" if self.read_at is None else " in hand"

    @property
    def _left_undone(self) -> str:
        """What a trainer that went away in peace may have failed to do."""
        if self.read_at is None:
            return (
                "does it call federant.join() or flare.init(), and ask for tasks until the job "
                "ends: for task in agent.tasks(), or while flare.is_running()?"
            )
        return (
            "does it answer each task, with get_task() and submit_result(), or with "
            "flare.receive() and flare.send()?"
        )
