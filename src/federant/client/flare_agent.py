"""FlareAgent, the trainer's end: tasks in, results and metrics out, over any pipe.

How messages are delivered is the PipeHandler's business; which task is held, the TaskDesk's; how
its answer reaches the client job, the AnswerSender's.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from federant.client.answers import AnswerSender
from federant.client.checks import check_channel, check_number, check_return_code, check_type
from federant.client.conversion import dxo_of_task, shareable_of_result
from federant.client.desk import Errand, TaskDesk
from federant.client.endings import ending
from federant.client.errors import (
    AgentAbortException,
    AgentClosed,
    AgentEndException,
    AgentPeerGoneException,
    CallStateError,
    FlareAgentException,
)
from federant.client.failures import error_text, failure
from federant.client.last_words import last_words
from federant.client.metrics import MetricSender
from federant.client.notices import Notices
from federant.client.silence import Silence
from federant.client.task import Task
from federant.exchange import (
    DXO,
    AnalyticsDataType,
    HeaderKey,
    LogWriterName,
    ReturnCode,
    Shareable,
    create_analytic_dxo,
)
from federant.pipe import Message, MsgId, Pipe, PipeChannelName, PipeHandler

RC = ReturnCode

__all__ = [
    "RC",
    "AgentAbortException",
    "AgentClosed",
    "AgentEndException",
    "AgentPeerGoneException",
    "CallStateError",
    "FlareAgent",
    "FlareAgentException",
    "FlareAgentWithCellPipe",
    "Task",
]

FLUSH_SECONDS = 1.0
"""How long stop() waits for metrics that were logged before it."""

LONGEST_TRY = 1e9
"""Seconds; a try waits no longer, whatever submit_result_timeout is: no pipe could."""

logger = logging.getLogger(__name__)


class FlareAgent:
    """Gets tasks from the client job (CJ), submits their results and streams metrics.

    Also a context manager: starts on entry, stops on exit. Every method may be called from any
    thread of the process that started the agent; one task is held at a time.

    Args:
        pipe: to the CJ, for tasks; None for an agent that only logs metrics.
        read_interval: seconds (> 0) between looks at a pipe that cannot wake its reader.
        heartbeat_interval: seconds (> 0) between signs of life to the CJ.
        heartbeat_timeout: seconds without a sign of life after which the CJ counts as gone; more
            than heartbeat_interval, or 0 to wait for ever.
        resend_interval: seconds (> 0) between two tries to send a result; None to send once. A pipe
            that cannot resend is never resent on, nor is a message while its bytes move.
        max_resends: tries after the first (an int >= 0); None for no limit.
        submit_result_timeout: seconds (> 0) that one try waits without progress.
        metric_pipe: to the CJ, for metrics.
        task_channel_name, metric_channel_name: the lanes of the two pipes, which must differ; each
            of 1 to 64 of the characters a-z A-Z 0-9 _.
        close_pipe, close_metric_pipe: whether stop() closes them.
        site_name, job_id: where this trainer takes part, for its own use. An empty job_id becomes
            that of the first task.

    Raises:
        RuntimeError: neither pipe is given.
        TypeError, ValueError: a value is out of range; the message names it.
    """

    def __init__(
        self,
        pipe: Pipe | None = None,
        read_interval: float = 0.1,
        heartbeat_interval: float = 5.0,
        heartbeat_timeout: float = 30.0,
        resend_interval: float | None = 2.0,
        max_resends: int | None = None,
        submit_result_timeout: float = 30.0,
        metric_pipe: Pipe | None = None,
        task_channel_name: str = PipeChannelName.TASK,
        metric_channel_name: str = PipeChannelName.METRIC,
        close_pipe: bool = True,
        close_metric_pipe: bool = True,
        *,
        site_name: str = "",
        job_id: str = "",
    ) -> None:
        if pipe is None and metric_pipe is None:
            raise RuntimeError("an agent needs a pipe for tasks, a metric_pipe, or both; got none")
        check_type("pipe", pipe, Pipe | None, "a Pipe or None")
        check_type("metric_pipe", metric_pipe, Pipe | None, "a Pipe or None")
        check_number("read_interval", read_interval, above=0)
        check_number("heartbeat_interval", heartbeat_interval, above=0)
        check_number("heartbeat_timeout", heartbeat_timeout, least=0)
        check_number("resend_interval", resend_interval, above=0, or_none=True)
        check_number("max_resends", max_resends, least=0, whole=True, or_none=True)
        check_number("submit_result_timeout", submit_result_timeout, above=0)
        check_channel("task_channel_name", task_channel_name)
        check_channel("metric_channel_name", metric_channel_name)
        both = pipe is not None and metric_pipe is not None
        if both and task_channel_name == metric_channel_name:
            raise ValueError(
                "metric_channel_name must differ from task_channel_name where both pipes are "
                f"given, got {metric_channel_name!r} for both"
            )
        check_type("close_pipe", close_pipe, bool, "True or False")
        check_type("close_metric_pipe", close_metric_pipe, bool, "True or False")
        check_type("site_name", site_name, str, "a str")
        check_type("job_id", job_id, str, "a str")
        self.pipe = pipe
        self.metric_pipe = metric_pipe
        self.submit_result_timeout = submit_result_timeout
        self.max_resends = max_resends
        self.task_channel_name = task_channel_name
        self.metric_channel_name = metric_channel_name
        self.site_name = site_name
        self.job_id = job_id
        self._close_pipe = close_pipe
        self._close_metric_pipe = close_metric_pipe
        try_seconds = min(submit_result_timeout, LONGEST_TRY)
        self._process_id = 0  # of the process that called start
        self._life = threading.RLock()
        self._desk = TaskDesk()

        def handler_for(used: Pipe) -> PipeHandler:
            return PipeHandler(
                used,
                read_interval=read_interval,
                heartbeat_interval=heartbeat_interval,
                heartbeat_timeout=heartbeat_timeout,
                resend_interval=resend_interval,
                max_resends=max_resends,
            )

        self._handler: PipeHandler | None = None
        self._answers: AnswerSender | None = None
        self._notices: Notices | None = None
        self._silence: Silence | None = None
        if pipe is not None:
            self._handler = handler_for(pipe)
            self._answers = AnswerSender(self._handler, self._desk, try_seconds, max_resends)
            self._notices = Notices(self._handler, self._desk)
            self._silence = Silence(self._handler)
            self._handler.set_message_cb(self._on_message)
            self._handler.set_duplicate_cb(self._on_duplicate)
            self._handler.set_status_cb(self._on_status)
            self._handler.set_cancel_cb(self._on_cancel)
        self._metrics: MetricSender | None = None
        if metric_pipe is not None:
            self._metrics = MetricSender(handler_for(metric_pipe), try_seconds)

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Opens the pipes and begins to communicate; waits for nobody.

        A second start, or one after stop(), does nothing: a stopped agent stays closed.
        """
        with self._life:
            if self._desk.started or self._desk.closed is not None:
                return
            self._process_id = os.getpid()
            self._open_pipes()
            if self._handler is not None:
                self._handler.start()
            if self._metrics is not None:
                self._metrics.start()
            self._desk.start()

    def _open_pipes(self) -> None:
        with ExitStack() as where_it_fails:
            if self.pipe is not None:
                self.pipe.open(self.task_channel_name)
                where_it_fails.callback(self.pipe.close)
            if self.metric_pipe is not None:
                self.metric_pipe.open(self.metric_channel_name)
            where_it_fails.pop_all()

    def stop(self) -> None:
        """Ends the communication and wakes every blocked call at once; may be called twice.

        Metrics logged before get FLUSH_SECONDS to leave. Does nothing in a forked child, which
        would say goodbye in its parent's name.
        """
        if self._in_child():
            return
        self._desk.close(AgentClosed("the agent is closed: stop() was called in this process"))
        with self._life:
            if self._notices is not None:
                self._notices.stop()
            if self._handler is not None:
                self._handler.stop(close_pipe=self._close_pipe)
            if self._metrics is not None:
                self._metrics.stop(FLUSH_SECONDS, close_pipe=self._close_metric_pipe)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self.report_crash(error)
        finally:
            self.stop()

    def report_crash(self, error: BaseException) -> None:
        """Tells the CJ, if a task is held, what this process dies of; see last_words."""
        text = last_words(error)
        if not text or self._answers is None or self._in_child():
            return
        try:
            errand = self._desk.begin_submit()
        except CallStateError:
            return  # no task is held, or its result is on its way
        self._answers.send_failure(errand, failure(RC.EXECUTION_EXCEPTION, text, crashed=True))

    def _in_child(self) -> bool:
        return self._process_id not in (0, os.getpid())

    def _check_process(self, call: str) -> None:
        if self._in_child():
            raise CallStateError(
                f"{call} in process {os.getpid()}: the agent was started in process "
                f"{self._process_id}, and only that one may use it"
            )

    # -- tasks -----------------------------------------------------------------------------------

    def get_task(self, timeout: float | None = None) -> Task | None:
        """Blocks for the next task; None when ``timeout`` has passed.

        The timeout is in seconds: None and infinity wait for ever, less than 0 is as 0. A queued
        task is returned at once, also with a timeout of 0.

        Raises:
            AgentAbortException, AgentEndException, AgentPeerGoneException: the CJ aborted or ended
                the job, or is out of reach; each is an AgentClosed, which stop() raises here by
                itself.
            CallStateError: before start(), or the previous task's result was not submitted.
            TypeError, ValueError: the timeout is no number.
            RuntimeError: the agent has no task pipe, or the message holds no Shareable.
            Exception: what shareable_to_task_data raised; the CJ has been told, if it took that
                within answers.ANSWER_SECONDS, and the next call goes on with the next task.
        """
        answers = self._check_tasks("get_task")
        deadline = _deadline(timeout)
        while True:
            errand = self._take(deadline)
            if errand is None:
                return None
            if errand.answer is not None:
                logger.warning("task repeated task_id=%s", errand.task_id)
                answers.send_failure(errand, errand.answer)
                continue
            try:
                task = self._to_task(errand)
            except Exception as error:
                why = error_text(error)
                logger.warning("task unusable task_id=%s error=%r", errand.task_id, why)
                answers.send_failure(errand, failure(RC.BAD_TASK_DATA, why))
                raise
            except BaseException:
                self._desk.put_back(errand)  # Ctrl-C: the next call gets it again
                raise
            self._desk.hand_out(errand, task)
            return task

    def _take(self, deadline: float | None) -> Errand | None:
        if self._silence is not None and (ends := self._silence.ends()) is not None:
            errand = self._desk.take(ends if deadline is None else min(ends, deadline))
            if errand is not None or (deadline is not None and deadline < ends):
                return errand
            self._silence.tell()
        return self._desk.take(deadline)

    def tasks(self) -> Iterator[Task]:
        """Task after task, until the job ends or stop() is called.

        An abort and a CJ that is out of reach are raised, as by get_task.
        """
        while True:
            try:
                task = self.get_task()
            except (AgentAbortException, AgentPeerGoneException):
                raise
            except AgentClosed:
                return
            if task is not None:
                yield task
                task = None  # what the caller has let go of is not kept until the next one is here

    def submit_result(self, result: Any, rc: str = ReturnCode.OK) -> bool:
        """Hands back the current task's result and blocks until the CJ has accepted it.

        True: accepted, that is, it survives the death of this process and of the CJ. False: not
        known to be accepted, because the task was aborted, the agent closed (the next get_task says
        why), the CJ refused it or gave no answer; it never counts twice. Whatever the outcome, the
        task takes no second result.

        Raises:
            CallStateError: no task is current, or another call is submitting for it.
            TypeError: the result cannot travel, or rc is not a str; the task is still current.
            ValueError: rc is empty or longer than RETURN_CODE_LENGTH; the task is still current.
            SpoolError: it could not be put into the spool, whose disk is full say, before anything
                was sent; the task is still current. Where a later try fails so, the call is False.
            Exception: what task_result_to_shareable raised; the task is still current.
            RuntimeError: the agent has no task pipe.
        """
        answers = self._check_tasks("submit_result")
        check_return_code("rc", rc)
        errand = self._desk.begin_submit()
        try:
            shareable = self.task_result_to_shareable(result, rc)
            if not isinstance(shareable, Shareable):
                raise TypeError(
                    "task_result_to_shareable must return a Shareable, "
                    f"got {type(shareable).__name__} for task {errand.task}"
                )
            check_return_code("the return code in a result", shareable.get_return_code())
            return answers.send_result(errand, shareable)
        finally:
            # Matters only where an exception left the errand open: nothing has been sent.
            self._desk.abandon_submit(errand)

    @property
    def last_refusal(self) -> str:
        """Why the server did not take the newest accepted result that it refused; empty if none.

        True from submit_result says that the CJ has the result. The server judges it later, and
        what it says of one that does not fit its task is logged as a warning here, too.
        """
        return "" if self._notices is None else self._notices.last_refusal

    def _check_tasks(self, call: str) -> AnswerSender:
        if self._answers is None:
            raise RuntimeError(f"{call}: this agent has no task pipe, it only logs metrics")
        self._check_process(call)
        return self._answers

    def _to_task(self, errand: Errand) -> Task:
        data = errand.message.data
        if not isinstance(data, Shareable):
            raise RuntimeError(
                f"the message of task {errand.task_id} must hold a Shareable, "
                f"got {type(data).__name__}"
            )
        job_id = data.get_header(HeaderKey.JOB_ID)
        if not self.job_id and isinstance(job_id, str):
            self.job_id = job_id
        name = data.get_header(HeaderKey.TASK_NAME) or errand.message.topic
        headers = dict(data.get(HeaderKey.HEADERS) or {})
        task_data = self.shareable_to_task_data(data)
        return Task(name, str(errand.task_id), task_data, headers=headers)

    def shareable_to_task_data(self, shareable: Shareable) -> Any:
        """Makes the task's data; override it for trainers that want something else than a DXO.

        The DXO's meta gets ``current_round`` and ``total_rounds`` if the headers have them. Data
        and meta are the very objects of the Shareable. ValueError if there is no DXO in it.
        """
        return dxo_of_task(shareable)

    def task_result_to_shareable(self, result: Any, rc: str) -> Shareable:
        """Makes what travels of a result; an override must set the return code itself.

        None gives a Shareable with only the return code. TypeError for other types than DXO.
        """
        return shareable_of_result(result, rc)

    # -- metrics ---------------------------------------------------------------------------------

    def log(self, record: DXO) -> bool:
        """Takes a copy of a record for the metric pipe and returns at once.

        False if it was not taken: metrics.QUEUE_LENGTH records or QUEUE_BYTES wait, because the CJ
        reads slowly (metrics_dropped counts, the log says so once), or the channel has ended.

        Raises:
            RuntimeError: the agent has no metric pipe.
            CallStateError: before start().
            TypeError: the record is no DXO, or cannot be copied. One that cannot travel otherwise
                is found out later: it is dropped and counted.
        """
        if self._metrics is None:
            raise RuntimeError("log: this agent has no metric pipe; give it one as metric_pipe")
        self._check_process("log")
        if not self._desk.started:
            raise CallStateError("log before start: call agent.start() first")
        if not isinstance(record, DXO):
            raise TypeError(
                f"a record must be a DXO, got {type(record).__name__}; "
                "make one with create_analytic_dxo(tag, value, data_type)"
            )
        return self._metrics.put(record)

    def log_number(
        self,
        tag: str,
        value: float,
        step: int | None = None,
        data_type: AnalyticsDataType = AnalyticsDataType.SCALAR,
        writer: LogWriterName = LogWriterName.TORCH_TB,
    ) -> bool:
        """The same as log() of the record that create_analytic_dxo makes of these, in less time.

        What the two would raise is raised here too.
        """
        if self._metrics is not None and self._desk.started:
            self._check_process("log")
            taken = self._metrics.put_number(tag, value, step)
            if taken is not None:
                return taken
        if step is None:
            return self.log(create_analytic_dxo(tag, value, data_type, writer))
        return self.log(create_analytic_dxo(tag, value, data_type, writer, global_step=step))

    def flush_metrics(self, timeout: float) -> bool:
        """Waits until the client job has read what was logged; False if the seconds were too few.

        True also where nothing more will be sent: the channel has ended, or there is none.
        """
        check_number("timeout", timeout, least=0)
        return self._metrics is None or self._metrics.flush(timeout)

    @property
    def metrics_dropped(self) -> int:
        """How many records were not sent, since the start."""
        return 0 if self._metrics is None else self._metrics.dropped

    # -- what comes from the pipes, in their readers' threads ------------------------------------

    def _on_message(self, message: Message) -> None:
        if message.msg_type == Message.REQUEST:
            task_id = _task_id(message)
            if not self._desk.put(message, task_id) and self._notices is not None:
                self._notices.watch(message, task_id)
        else:
            logger.warning("ignored message=%s: a reply to nothing", message)

    def _on_duplicate(self, message: Message) -> None:
        if message.msg_type == Message.REQUEST:
            self._desk.put_again(message, _task_id(message))

    def _on_cancel(self, message: Message) -> None:
        data = message.data if isinstance(message.data, dict) else {}
        task_id, reason = data.get("task_id"), str(data.get("reason") or "cancelled")
        if task_id is None:
            logger.warning("ignored message=%s: it names no task_id", message)
            return
        errand = self._desk.cancel(task_id, reason)
        if errand is not None and self._answers is not None:
            self._answers.cancel(errand, reason)

    def _on_status(self, message: Message) -> None:
        self._desk.close(ending(message))


def _task_id(message: Message) -> MsgId:
    data = message.data
    found = data.get_header(HeaderKey.TASK_ID) if isinstance(data, Shareable) else None
    return found if isinstance(found, str | int) else message.msg_id


def _deadline(timeout: float | None) -> float | None:
    """On the monotonic clock; None for a timeout that never passes."""
    if timeout is None or timeout == math.inf:
        return None
    check_number("timeout", timeout, or_none=True)
    return time.monotonic() + timeout


# Known by this module's name too. Last, because its base is the class above.
from federant.client.flare_agent_with_cell_pipe import FlareAgentWithCellPipe  # noqa: E402 - see above
