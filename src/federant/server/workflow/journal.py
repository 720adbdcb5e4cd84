"""The journal of one job's run: steps numbered in the order of the calls; knows no algorithm.

A step has a call (what the workflow asked for), facts that were found out when it began (its
deadline, its sites) and, once it is closed, an outcome.  On replay the call must be the same, and
the facts and the outcome come from the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from federant.link.messages import Event
from federant.server.blobs import BlobStore
from federant.server.state import NewTask, StepRow, Store
from federant.server.wakeups import Wakeups, job_topic
from federant.server.workflow.errors import JobStopped, NotReplayableError, Suspended

_LONGEST_WAIT_SECONDS: Final = 60.0


class Journal:
    """What the calls of one run have in common.  Used by the thread that runs the workflow.

    ``suspended`` tells whether this process has given the job up; ``clock`` must be the store's.
    """

    def __init__(
        self,
        job_id: str,
        store: Store,
        blobs: BlobStore,
        wakeups: Wakeups,
        *,
        suspended: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.job_id = job_id
        self.store = store
        self.blobs = blobs
        self.clock = clock
        self.next_number = 0
        """The number of the next step."""
        self._wakeups = wakeups
        self._suspended = suspended

    def begin(
        self,
        kind: str,
        call: Mapping[str, Any],
        facts: Mapping[str, Any] | None = None,
        tasks: Callable[[int], Sequence[NewTask]] = lambda _: (),
        told: Callable[[int, Sequence[NewTask]], Sequence[Event]] = lambda *_: (),
    ) -> StepRow:
        """Begin the next step with its tasks, or find it in the journal.

        ``call`` and ``facts`` must be what JSON gives back as it was; ``tasks`` and
        ``told``, what people are told of the step, are only called if it is new.
        NotReplayableError if the journal has another call under this number.
        """
        self.check()
        number = self.next_number
        step = self.store.step(self.job_id, number)
        if step is None:
            detail = {**(facts or {}), "call": dict(call)}
            new = tasks(number)
            step = self.store.begin_step(self.job_id, number, kind, detail, new, told(number, new))
        if (step.kind, step.detail["call"]) != (kind, call):
            raise NotReplayableError(
                f"step {number} of job {self.job_id} was {_shown(step.kind, step.detail['call'])} "
                f"and is now {_shown(kind, call)}: run must make the same calls each time, so take "
                "the time, random choices and the list of sites from the context"
            )
        self.next_number += 1
        return step

    def close(
        self, step: StepRow, outcome: Mapping[str, Any], told: Sequence[Event] = ()
    ) -> StepRow:
        """End a step; its open tasks are cancelled, and people are told this."""
        return self.store.close_step(self.job_id, step.number, outcome, told)

    def once(self, kind: str, call: Mapping[str, Any], act: Callable[[], Any]) -> Any:
        """A step that is over as soon as ``act`` has given its value (as of JSON).

        ``act`` is done again if the server died before the step was closed.
        """
        step = self.begin(kind, call)
        if step.outcome is None:
            step = self.close(step, {"value": act()})
        return step.outcome["value"] if step.outcome else None

    def check(self) -> None:
        """Raise JobStopped or Suspended if the run is to end."""
        if self._suspended() or self._wakeups.closed:
            raise Suspended(f"job {self.job_id} is given up by this process")
        if self.store.job(self.job_id).stop_requested:
            raise JobStopped(f"job {self.job_id} was stopped")

    def version(self) -> int:
        """Read it before you look at the store; then ``wait`` misses no change."""
        return self._wakeups.version(job_topic(self.job_id))

    def wait(self, version: int, deadline: float | None) -> None:
        """Wait until something of the job changed after ``version``, or the deadline passed.

        Raises as ``check`` does, and checks after ``version`` was read: an end is not slept over.
        """
        self.check()
        longest = _LONGEST_WAIT_SECONDS
        left = longest if deadline is None else min(longest, deadline - self.clock())
        if left > 0:
            self._wakeups.wait_blocking(job_topic(self.job_id), version, left)

    def deadline(self, timeout: float | None) -> float | None:
        """The point in time ``timeout`` seconds from now."""
        return None if timeout is None else self.clock() + timeout


def _shown(kind: str, call: Mapping[str, Any]) -> str:
    return f"{kind}({', '.join(f'{key}={value!r}' for key, value in call.items())})"
