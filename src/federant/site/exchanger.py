"""The client job's end of the task pipe: hands out one task at a time, takes its result in.

A result is journaled before it is accepted. Processes are the supervisor's affair, the server
is the client job's.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from federant.exchange import HeaderKey, ReturnCode, Shareable
from federant.pipe import Message, Pipe, PipeChannelName, PipeHandler, StoredFrame, Topic
from federant.site.attempt import Attempt, Crash, End, ExchangeLimits, Facts, Left
from federant.site.backoff import Backoff
from federant.site.errors import (
    LaunchError,
    TaskDataError,
    TrainerDownError,
    UnreadableResultError,
)
from federant.site.journal import Journal, OpenTask, StoredResult
from federant.site.results import ReceivedResult, read_notice, read_result
from federant.site.sessions import PipeSessions
from federant.site.supervisor import Trainer
from federant.spool import SpoolError

_log = logging.getLogger(__name__)

_TOPIC = re.compile(r"[a-zA-Z0-9_]+")
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class SiteTask:
    """One task as the server gave it to this site."""

    task_id: str
    lease: int
    """The server's count of the times it gave the task out."""
    name: str
    headers: Mapping[str, Any] = field(default_factory=dict)
    deadline: float | None = None
    """On the monotonic clock; None = none."""


class TaskExchanger:
    """Serves the task channel of one pipe; execute() is called by one thread, the rest by any."""

    def __init__(
        self,
        pipe: Pipe,
        journal: Journal,
        trainer: Trainer,
        *,
        job_id: str,
        site_name: str,
        on_result: Callable[[StoredResult, StoredFrame | None], None],
        on_status: Callable[[str, str], None],
        limits: ExchangeLimits | None = None,
    ) -> None:
        """`on_result` gets every result once, when it is journaled, with its frame if the pipe
        left that in a file; `on_status(state, text)` gets what a watching person wants to see."""
        self._pipe = pipe
        self._journal = journal
        self._trainer = trainer
        self._job_id = job_id
        self._site_name = site_name
        self._on_result = on_result
        self._on_status = on_status
        self._limits = limits or ExchangeLimits()
        self._changed = threading.Condition()
        self._open = {task.msg_id: task for task in journal.open_tasks()}
        self._answers: dict[str, StoredResult] = {}
        self._void = ""
        self._stopping = ""
        self._stalled = False
        self._left: Left | None = None
        self._crash: Crash | None = None
        self._sending: Message | None = None
        self._refusals: list[tuple[str, str]] = []
        self._unasked = ""
        self._current: SiteTask | None = None
        self._sessions = PipeSessions(
            pipe,
            PipeChannelName.TASK,
            heartbeat_interval=self._limits.heartbeat_interval,
            on_message=self._on_message,
            on_left=self._on_left,
            on_notice=self._on_notice,
        )

    def start(self) -> None:
        """Open the pipe and listen; waits for nobody."""
        self._sessions.start()

    def execute(self, task: SiteTask, fetch: Callable[[], Shareable]) -> StoredResult | None:
        """Have the task done: the result, which on_result got as well.

        `fetch` gets the task's data, and raises TaskDataError if that is of no use. None if the
        task became void: cancel() or stop() was called. A failure is a result too, with a return
        code of its own and the reason in the header `__error__`.
        """
        with self._changed:
            # The trainer may have answered an earlier client job's message meanwhile.
            if (answered := self._answers.pop(task.task_id, None)) is not None:
                self._after_result()
                return answered
            opened = self._journal.open_task(task.task_id, task.lease, task.name)
            self._open[opened.msg_id] = opened
            self._current = task
        try:
            return self._execute(task, opened, fetch())
        except TaskDataError as error:
            return self._fail(opened, ReturnCode.BAD_TASK_DATA, str(error))
        finally:
            with self._changed:
                self._current = None
                self._answers.clear()
                self._unasked = ""
                self._void = ""

    def is_void(self) -> bool:
        """Whether the task that is being executed is not wanted any more."""
        return bool(self._void or self._stopping)

    def cancel(self, task_id: str, reason: str) -> None:
        """The task is void: its result is not wanted any more, and the trainer is told."""
        with self._changed:
            if self._current is not None and self._current.task_id == task_id:
                self._void = reason
            self._forget(task_id)
            self._journal.close_task(task_id)
            self._wake()
        self._tell_cancelled(task_id, reason)

    def open_tasks(self) -> set[str]:
        """Ids of the tasks that have no result yet, also from an earlier client job."""
        with self._changed:
            return {task.task_id for task in self._open.values()}

    def tell_refused(self, task_id: str, text: str) -> None:
        """Tell the trainer, now or when it has its next task, that a result was not taken."""
        with self._changed:
            self._refusals.append((task_id, text))
        self._tell_refusals()

    def trainer_ended(self) -> None:
        """To be called when the trainer's process has ended."""
        with self._changed:
            self._wake()

    def stop(self, *, aborted: str = "") -> None:
        """Give no more tasks: tell the trainer that the job has ended, or was aborted and why.

        A task in hand stays open in the journal.
        """
        with self._changed:
            self._stopping = aborted or "the job has ended"
            self._wake()
        if aborted:
            self._sessions.tell(Topic.ABORT, aborted)
        else:
            self._sessions.tell(Topic.END, "end_of_job")

    def wait_until_left(self, timeout: float) -> bool:
        """Wait until the trainer, if one was heard, has left; False if it stays. After stop()."""
        return self._sessions.wait_until_left(timeout)

    def close(self) -> None:
        """Close the pipe."""
        with self._changed:
            self._stopping = self._stopping or "the client job is closing"
            self._wake()
        self._sessions.close()

    # -- one task ---------------------------------------------------------------------------------

    def _execute(self, task: SiteTask, opened: OpenTask, body: Shareable) -> StoredResult | None:
        if not _TOPIC.fullmatch(task.name):
            return self._fail(
                opened,
                ReturnCode.BAD_TASK_DATA,
                f"a task's name must be one or more of a-z A-Z 0-9 _, this is {task.name!r}; "
                "rename it in the workflow",
            )
        deadline = self._deadline(task)
        left_in_peace = 0
        while True:
            with self._changed:
                self._left = self._crash = None
            try:
                self._trainer.ensure()
            except TrainerDownError as error:
                return self._fail(opened, ReturnCode.TRAINER_DIED, self._with_last_words(error))
            except LaunchError as error:
                return self._fail(opened, ReturnCode.TRAINER_ABSENT, str(error))
            attempt = Attempt(opened, self._limits, time.monotonic(), deadline)
            try:
                end = self._try(attempt, self._message(task, opened, body))
            except SpoolError as error:
                text = f"the task does not fit into the spool: {error}"
                return self._fail(opened, ReturnCode.SERVICE_UNAVAILABLE, text)
            ended = end.rc if isinstance(end, StoredResult) else end
            _log.info("attempt ended task=%s end=%s", opened.msg_id, ended)
            match end:
                case StoredResult():
                    self._after_result()
                    return end
                case None:
                    return None
                case End.TIMEOUT:
                    text = f"{attempt.text}\n{self._unasked}".rstrip()
                    return self._fail(opened, ReturnCode.TASK_TIMEOUT, text, tell=True)
                case End.ABSENT:
                    text = self._with_last_words(attempt.text)
                    return self._fail(opened, ReturnCode.TRAINER_ABSENT, text, tell=True)
                case End.STUCK:
                    self._trainer.kill()
                case End.LEFT:
                    left_in_peace += 1
            # One that left may not have seen the task that reached it; a fresh one has.
            once_more = left_in_peace < 2 or self._trainer.external
            if not (once_more if end is End.LEFT else self._trainer.replaceable):
                text = self._with_last_words(attempt.text)
                return self._fail(opened, ReturnCode.TRAINER_DIED, text)
            opened = self._next_attempt(opened)

    def _deadline(self, task: SiteTask) -> float | None:
        limits = [] if task.deadline is None else [task.deadline]
        if self._limits.task_wait_time is not None:
            limits.append(time.monotonic() + self._limits.task_wait_time)
        return min(limits, default=None)

    def _message(self, task: SiteTask, opened: OpenTask, body: Shareable) -> Message:
        headers = {
            **task.headers,
            HeaderKey.TASK_NAME: task.name,
            HeaderKey.TASK_ID: task.task_id,
            HeaderKey.ATTEMPT: opened.attempt,
            HeaderKey.JOB_ID: self._job_id,
            HeaderKey.SITE_NAME: self._site_name,
        }
        for key, value in headers.items():
            body.set_header(key, value)
        return Message.new_request(task.name, body, opened.msg_id)

    def _next_attempt(self, opened: OpenTask) -> OpenTask:
        with self._changed:
            if self._open.pop(opened.msg_id, None) is None:
                return opened  # answered or cancelled just now: the next look finds it
            following = self._journal.next_attempt(opened.task_id)
            self._open[following.msg_id] = following
            return following

    def _try(self, attempt: Attempt, message: Message) -> StoredResult | End | None:
        """The result, or how the attempt ended without one; None if the task became void."""
        pauses = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        while True:
            with self._changed:
                if (result := self._answers.get(attempt.task.task_id)) is not None:
                    return result
                if self.is_void():
                    return None
                now = time.monotonic()
                end = attempt.look(now, self._facts())
                self._show_stall(attempt)
                if end is not None:
                    return end
                if attempt.read_at is not None:
                    self._changed.wait(attempt.seconds(now))
                    continue
                message.withdrawn = False
                self._sending = message
            read = self._send(message, attempt.seconds(now))
            if read:
                self._tell_refusals()
            with self._changed:
                self._sending = None
                if read:
                    attempt.read_at = time.monotonic()
                elif not message.withdrawn:  # it could not be read: not again at once
                    attempt.unreadable = message.dropped
                    left = attempt.seconds(time.monotonic())
                    self._changed.wait(min(pauses.failed(), math.inf if left is None else left))

    def _send(self, message: Message, patience: float | None) -> bool:
        """Wait until the trainer has read the message; ends early when _wake is called."""
        try:
            return self._pipe.send(message, patience)
        except BrokenPipeError:
            return False
        except BaseException:  # the spool is full, say: there is nothing to wake any more
            with self._changed:
                self._sending = None
            raise

    def _facts(self) -> Facts:
        return Facts(
            self._trainer.external,
            self._trainer.exit,
            self._left,
            self._crash,
            self._pipe.get_last_peer_active_time(),
        )

    def _show_stall(self, attempt: Attempt) -> None:
        if attempt.stalled != self._stalled:
            self._stalled = attempt.stalled
            if attempt.stalled:
                silence = self._limits.stalled_after
                process = (
                    "its owner knows whether it lives"
                    if self._trainer.external
                    else "its process lives"
                )
                self._on_status("stalled", f"no sign of life for {silence:g} s; {process}")
            else:
                self._on_status("running", "the stalled trainer shows life again")

    def _after_result(self) -> None:
        if self._trainer.one_task:
            self._trainer.retire()
            self._sessions.tell(Topic.END, "end_of_task")

    def _fail(
        self, opened: OpenTask, rc: str, text: str, *, tell: bool = False
    ) -> StoredResult | None:
        with self._changed:
            if (answered := self._answers.get(opened.task_id)) is not None:
                return answered
            if self._open.pop(opened.msg_id, None) is None:
                return None  # cancelled just now
            result = StoredResult(
                opened.task_id, opened.lease, rc, {**self._round(), HeaderKey.ERROR: text}
            )
            self._journal.add_result(result)
        _log.warning("task failed task=%s rc=%s reason=%s", opened.msg_id, rc, text)
        if tell:
            self._tell_cancelled(opened.task_id, text)
        self._on_result(result, None)
        return result

    def _round(self) -> dict[str, Any]:
        key = HeaderKey.CURRENT_ROUND
        task = self._current
        return {key: task.headers[key]} if task is not None and key in task.headers else {}

    # -- what comes through the pipe --------------------------------------------------------------

    def _on_left(self, clean: bool, text: str) -> None:
        with self._changed:
            self._left = Left(clean, text, time.monotonic())
            self._wake()

    def _on_notice(self, message: Message) -> None:
        notice = read_notice(message.data)
        if notice is None:
            return
        task_id, text = notice
        with self._changed:
            current = self._current
            if current is None or current.task_id != task_id or self._unasked:
                return  # one for each task is enough, however many a trainer sends
            self._unasked = text
        self._on_status("unasked", text)

    def _on_message(self, message: Message, handler: PipeHandler) -> None:
        if message.msg_type != Message.REPLY:
            _log.warning("ignored a message of the trainer that answers no task: %s", message)
            _let_go(message)
            return
        with self._changed:
            opened = self._open.get(str(message.req_id))
            if opened is None or opened.name != message.topic:
                self._answer_stranger(message, handler)
                return
            try:
                received = read_result(message.data)
            except UnreadableResultError as error:
                self._take_unreadable(opened, message, handler, str(error))
            else:
                if received.crashed and (self._trainer.replaceable or self._trainer.many_crashed):
                    self._take_crash(received, message, handler)
                else:
                    self._take_result(opened, received, message, handler)
            self._wake()

    # On_result comes before execute() returns: whoever asks for the next task must know what is
    # held here, or the server hands this one out again.

    def _take_result(
        self, opened: OpenTask, received: ReceivedResult, message: Message, handler: PipeHandler
    ) -> None:
        result = StoredResult(
            *(opened.task_id, opened.lease, received.rc),
            {**received.headers, **self._round()},
            path=received.path,
            inline=received.inline,
            size=received.size,
        )
        self._keep(result, accepted=opened.msg_id)
        handler.accept(message)
        self._on_result(result, received.frame)

    def _take_unreadable(
        self, opened: OpenTask, message: Message, handler: PipeHandler, text: str
    ) -> None:
        _let_go(message)
        rc = ReturnCode.RESULT_UNREADABLE
        headers = {**self._round(), HeaderKey.ERROR: text}
        result = StoredResult(opened.task_id, opened.lease, rc, headers)
        self._keep(result)
        handler.refuse(message, rc, text)
        self._on_result(result, None)

    def _take_crash(self, received: ReceivedResult, message: Message, handler: PipeHandler) -> None:
        """The task stays open, for the trainer that takes the place of the one that dies now.

        Or until all its processes are gone: who talks may only have lost one that crashed before.
        """
        _let_go(message)
        self._crash = Crash(str(received.headers.get(HeaderKey.ERROR, "")), time.monotonic())
        handler.accept(message)

    def _keep(self, result: StoredResult, accepted: str | None = None) -> None:
        self._journal.add_result(result, accepted)
        self._forget(result.task_id)
        self._answers[result.task_id] = result

    def _answer_stranger(self, message: Message, handler: PipeHandler) -> None:
        """To a copy of a result that was accepted goes the same answer; nobody else is expected."""
        _let_go(message)
        if self._journal.was_accepted(str(message.req_id)):
            handler.accept(message)
            return
        _log.warning("refused a result that nobody waits for: %s", message)
        handler.refuse(
            message,
            ReturnCode.TASK_ABORTED,
            f"nobody waits for the result of {message.topic} {message.req_id} any more",
        )

    def _tell_cancelled(self, task_id: str, reason: str) -> None:
        self._sessions.tell(Topic.CANCEL, {"task_id": task_id, "reason": reason})

    def _tell_refusals(self) -> None:
        with self._changed:
            waiting, self._refusals = self._refusals, []
        while waiting and self._sessions.tell(
            Topic.NOTICE, dict(zip(("task_id", "text"), waiting[0], strict=True))
        ):
            del waiting[0]
        with self._changed:
            self._refusals[:0] = waiting

    # -- small things -----------------------------------------------------------------------------

    def _forget(self, task_id: str) -> None:
        for msg_id in [key for key, task in self._open.items() if task.task_id == task_id]:
            del self._open[msg_id]

    def _wake(self) -> None:
        """Make execute() look again, also where it is sending. With the lock held."""
        self._changed.notify_all()
        if self._sending is not None:
            self._sending.withdrawn = True
            self._pipe.wake()

    def _with_last_words(self, text: object) -> str:
        words = self._trainer.last_words()
        return f"{text}\n{words}" if words else str(text)


def _let_go(message: Message) -> None:
    """Nobody will read its data."""
    if isinstance(message.data, StoredFrame):
        message.data.release()
