"""Which task an agent holds and who waits for one: state and one condition, no pipe, no thread."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from federant.client.errors import AgentClosed, CallStateError
from federant.client.failures import failure
from federant.client.task import Task
from federant.exchange import ReturnCode, Shareable
from federant.pipe import Message, MsgId

# How many tasks that ended without an accepted result are remembered, to answer who asks again.
REMEMBERED_TASKS = 1024

# Seconds; for very long times a condition cannot wait at once.
LONGEST_WAIT = 3600.0


@dataclass(slots=True, eq=False)
class Errand:
    """A task message on its way through the agent, from its arrival to its answer."""

    message: Message
    task_id: MsgId
    reply_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    task: Task | None = None
    submitting: bool = False
    cancelled: str = ""
    """Why nobody waits for the result any more; empty while somebody does."""
    answer: Shareable | None = None
    """For a task that is asked for again: what became of it, without an accepted result."""

    def cancel(self, reason: str) -> None:
        self.cancelled = self.cancelled or reason
        if self.task is not None:
            self.task.cancelled = True


class TaskDesk:
    """Holds at most one task at a time; thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._queue: deque[Errand] = deque()
        self._held: Errand | None = None
        self._unaccepted: OrderedDict[MsgId, Shareable] = OrderedDict()
        self._started = False
        self._takers = 0
        self._closed: AgentClosed | None = None

    @property
    def closed(self) -> AgentClosed | None:
        return self._closed

    @property
    def started(self) -> bool:
        return self._started

    def start(self) -> None:
        self._started = True

    def close(self, error: AgentClosed) -> None:
        """Wakes every waiting call; the first reason stands, also for the task that is held."""
        with self._condition:
            if self._closed is None:
                self._closed = error
            self._queue.clear()
            if self._held is not None:
                self._held.cancel(str(self._closed))
            self._condition.notify_all()

    def put(self, message: Message, task_id: MsgId) -> bool:
        """Queues a task that has arrived; whether a call of take() waits for it."""
        with self._condition:
            self._enqueue(Errand(message, task_id))
            return self._takers > 0

    def has_unasked(self, msg_id: MsgId) -> bool:
        """Whether the task of that message still waits for a call of take()."""
        with self._condition:
            return any(errand.message.msg_id == msg_id for errand in self._queue)

    def put_again(self, message: Message, task_id: MsgId) -> None:
        """A task's message came again, because its sender still waits for an answer.

        Nothing to do while the task is open or its result accepted; else take() returns it with
        ``answer`` set: to be given again, and not to be worked on again.
        """
        with self._condition:
            answer = self._unaccepted.pop(message.msg_id, None)
            if answer is not None:
                self._enqueue(Errand(message, task_id, answer=answer))

    def _enqueue(self, errand: Errand) -> None:
        with self._condition:
            if self._closed is None:
                self._queue.append(errand)
                self._condition.notify_all()

    def take(self, deadline: float | None) -> Errand | None:
        """The next task, which is then held; None at the deadline (``time.monotonic``).

        Raises:
            AgentClosed: the agent is closed, or gets closed while waiting.
            CallStateError: not started, or a task is held whose result was not submitted.
        """
        with self._condition:
            self._takers += 1
            try:
                return self._take(deadline)
            finally:
                self._takers -= 1

    def _take(self, deadline: float | None) -> Errand | None:
        while True:
            self._check_can_take()
            if self._queue:
                self._held = self._queue.popleft()
                return self._held
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return None
            self._condition.wait(None if remaining is None else min(remaining, LONGEST_WAIT))

    def _check_can_take(self) -> None:
        if self._closed is not None:
            # A fresh one each time: one exception raised by several threads mixes their tracebacks.
            raise type(self._closed)(str(self._closed))
        if not self._started:
            raise CallStateError("get_task before start: call agent.start() first")
        held = self._held
        if held is not None and held.cancelled and not held.submitting and held.task is not None:
            self._finish(held, _ended("before a result came", held.cancelled))
            held = None
        if held is not None:
            raise CallStateError(
                f"get_task while task {held.task or held.task_id} is held: call submit_result first"
            )

    def hand_out(self, errand: Errand, task: Task) -> None:
        """From here on the task is the caller's, to work on and to submit a result for."""
        with self._condition:
            errand.task = task
            task.cancelled = bool(errand.cancelled)

    def put_back(self, errand: Errand) -> None:
        """Undoes a take, for a call that was interrupted before its caller had the task."""
        with self._condition:
            self._held = None
            if self._closed is None and not errand.cancelled:
                self._queue.appendleft(errand)
                self._condition.notify_all()

    def begin_submit(self) -> Errand:
        """Claims the held task's one submission.

        Raises:
            CallStateError: no task is held, or its submission is already under way.
        """
        with self._condition:
            if not self._started:
                raise CallStateError("submit_result before start: call agent.start() first")
            held = self._held
            if held is None or held.task is None:
                raise CallStateError(
                    "submit_result without a current task: call get_task first, and submit one "
                    "result for each task that it returns"
                )
            if held.submitting:
                raise CallStateError(
                    f"submit_result for task {held.task} is already under way in another call"
                )
            held.submitting = True
            return held

    def abandon_submit(self, errand: Errand) -> None:
        """Undoes begin_submit: nothing was sent and the task is still current."""
        with self._condition:
            errand.submitting = False

    def finish(self, errand: Errand, answer: Shareable | None) -> None:
        """The task is done with; ``answer`` is for whoever asks again, None if a result was taken.

        A Shareable with only a return code and an error's text.
        """
        with self._condition:
            self._finish(errand, answer)
            self._condition.notify_all()

    def _finish(self, errand: Errand, answer: Shareable | None) -> None:
        if answer is not None:
            self._unaccepted[errand.message.msg_id] = answer
            if len(self._unaccepted) > REMEMBERED_TASKS:
                self._unaccepted.popitem(last=False)
        if self._held is errand:
            self._held = None

    def cancel(self, task_id: MsgId, reason: str) -> Errand | None:
        """Ends one task, queued or held; ``task_id`` is the task's id or its message's.

        Returns the held task if that is the one, so that a submission under way can be ended.
        """
        with self._condition:
            for errand in [*self._queue, *([self._held] if self._held is not None else [])]:
                if task_id not in (errand.task_id, errand.message.msg_id):
                    continue
                errand.cancel(reason)
                if errand is self._held:
                    self._condition.notify_all()
                    return errand
                self._queue.remove(errand)
                self._finish(errand, _ended("before it began", reason))
            return None


def _ended(when: str, why: str) -> Shareable:
    return failure(ReturnCode.EXECUTION_EXCEPTION, f"the task was ended {when}: {why}")
