import logging
import math
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant.client import answers, silence
from federant.client.flare_agent import AgentClosed, CallStateError, FlareAgent
from federant.exchange import DXO, DataKind, HeaderKey, ReturnCode, Shareable
from federant.pipe import LocalPipe, Message, Mode, Pipe
from federant.testing import FaultPipe


def test_a_task_has_name_id_and_data(job: Any, agent: FlareAgent) -> None:
    job.send_task("task-1", "train")
    task = agent.get_task()
    assert task is not None
    assert (task.task_name, task.task_id) == ("train", "task-1")
    assert isinstance(task.data, DXO)
    np.testing.assert_array_equal(task.data.data["w"], [1.0, 2.0])
    assert task.cancelled is False
    assert str(task) == "'train task-1'"


def test_a_task_that_comes_while_waiting_is_returned(
    job: Any, agent: FlareAgent, background: Any, patience: float
) -> None:
    waiting = background(agent.get_task, timeout=patience)
    job.send_task("task-1")
    assert waiting.result(patience).task_id == "task-1"


def test_without_a_task_it_returns_none_at_the_timeout(agent: FlareAgent) -> None:
    assert agent.get_task(timeout=0.01) is None
    assert agent.get_task(timeout=0) is None
    assert agent.get_task(timeout=-1) is None


@pytest.fixture
def warned(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[str]]:
    """What was warned of a client job that is not heard, by agents that have no patience."""
    monkeypatch.setattr(silence, "PATIENCE_SECONDS", 0.0)
    caplog.set_level(logging.WARNING, silence.logger.name)
    return lambda: [
        record.getMessage() for record in caplog.records if record.name == silence.logger.name
    ]


def test_where_no_client_job_was_ever_heard_one_warning_names_the_pipe(
    tmp_path: Path, warned: Callable[[], list[str]]
) -> None:
    pipe = LocalPipe(Mode.ACTIVE, tmp_path / "tpyo", "s3cret")
    with FlareAgent(pipe=pipe) as agent:
        assert agent.get_task(timeout=0.001) is None
        assert agent.get_task(timeout=0.001) is None
    (text,) = warned()
    assert "LocalPipe(" in text
    assert str(tmp_path / "tpyo") in text
    assert "Is the job running" in text
    assert "s3cret" not in text


class Raises(logging.Handler):
    """Raises a flag for a warning."""

    def __init__(self) -> None:
        super().__init__()
        self.flag = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self.flag.set()


def test_a_wait_without_end_is_warned_of_and_goes_on(
    new_pipe: Any, background: Any, patience: float, warned: Callable[[], list[str]]
) -> None:
    heard = Raises()
    silence.logger.addHandler(heard)
    try:
        with FlareAgent(pipe=new_pipe(), heartbeat_timeout=0) as agent:
            waiting = background(agent.get_task)
            assert heard.flag.wait(patience)
            assert not waiting.done()
    finally:
        silence.logger.removeHandler(heard)
    with pytest.raises(AgentClosed):
        waiting.result(patience)
    assert len(warned()) == 1


def test_where_the_client_job_was_heard_nothing_is_said(
    job: Any, agent: FlareAgent, warned: Callable[[], list[str]]
) -> None:
    for number in range(2):  # a message is read after the one before is taken in
        reply = DXO(DataKind.WEIGHTS, {}).to_shareable()
        job.send(Message.new_reply("train", reply, f"task-{number}"))
    assert agent.get_task(timeout=0.001) is None
    assert warned() == []


def test_nothing_is_said_before_the_time_is_up(
    tmp_path: Path, warned: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "PATIENCE_SECONDS", 3600.0)
    with FlareAgent(pipe=LocalPipe(Mode.ACTIVE, tmp_path / "pipe")) as agent:
        assert agent.get_task(timeout=0.001) is None
    assert warned() == []


@pytest.mark.parametrize("timeout", [0, -1.0])
def test_a_queued_task_is_returned_whatever_the_timeout(
    job: Any, agent: FlareAgent, timeout: float
) -> None:
    job.send_task("task-1")
    job.send_task("task-2")  # a message is read after the one before is queued
    task = agent.get_task(timeout=timeout)
    assert task is not None
    assert task.task_id == "task-1"


@pytest.mark.parametrize("timeout", [None, math.inf, 1e12, 1e308])
def test_a_timeout_may_be_longer_than_any_wait(
    job: Any, agent: FlareAgent, background: Any, patience: float, timeout: float | None
) -> None:
    waiting = background(agent.get_task, timeout)
    job.send_task("task-1")
    assert waiting.result(patience).task_id == "task-1"


def test_a_timeout_that_is_no_number_is_refused(job: Any, agent: FlareAgent) -> None:
    job.send_task("task-1")
    for timeout, error in ((math.nan, ValueError), ("10", TypeError), (True, TypeError)):
        with pytest.raises(error, match="timeout must be a finite number, or None, got"):
            agent.get_task(timeout)  # type: ignore[arg-type]
    assert agent.get_task() is not None


@pytest.mark.parametrize("timeout", [None, 0])
def test_while_a_task_is_held_there_is_no_other(
    job: Any, agent: FlareAgent, timeout: float | None
) -> None:
    job.send_task("task-1")
    agent.get_task()
    with pytest.raises(CallStateError, match=r"'train task-1' is held: call submit_result first"):
        agent.get_task(timeout)


def test_an_agent_for_metrics_only_has_no_tasks(new_pipe: Any) -> None:
    with FlareAgent(metric_pipe=new_pipe()) as agent:
        with pytest.raises(RuntimeError, match="get_task: this agent has no task pipe"):
            agent.get_task()
        with pytest.raises(RuntimeError, match="submit_result: this agent has no task pipe"):
            agent.submit_result(None)


def test_the_same_task_sent_twice_is_delivered_once(
    job: Any, agent: FlareAgent, background: Any, patience: float
) -> None:
    message = job.send_task("task-1")
    job.send(message)  # while it is queued
    agent.get_task()
    job.send(message)  # while it is held
    waiting = background(agent.submit_result, None)
    job.take_result()
    assert waiting.result(patience) is True
    job.send(message)  # when it is done
    job.send_task("task-2")
    task = agent.get_task()
    assert task is not None
    assert task.task_id == "task-2"


def test_a_task_asked_for_again_after_its_result_was_not_taken_is_answered(
    job: Any, new_agent: Callable[..., FlareAgent], background: Any, patience: float
) -> None:
    agent = new_agent(submit_result_timeout=0.05, max_resends=0)
    agent.start()
    message = job.send_task("task-1")
    agent.get_task()
    assert agent.submit_result(None) is False
    job.read_result()
    job.send(message)
    waiting = background(agent.get_task)
    again = job.take_result()
    assert again.req_id == "task-1"
    assert again.data.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert "its result was not accepted" in again.data.get_header(HeaderKey.ERROR)
    job.send_task("task-2")
    assert waiting.result(patience).task_id == "task-2"


def test_a_reply_is_no_task(job: Any, agent: FlareAgent) -> None:
    shareable = DXO(DataKind.WEIGHTS, {}).to_shareable()
    job.send(Message.new_reply("train", shareable, "task-0"))
    job.send_task("task-1")
    task = agent.get_task()
    assert task is not None
    assert task.task_id == "task-1"


def test_name_and_id_come_from_the_message_where_headers_lack(job: Any, agent: FlareAgent) -> None:
    job.send(Message.new_request("validate", DXO(DataKind.WEIGHTS, {}).to_shareable(), "m-1"))
    task = agent.get_task()
    assert task is not None
    assert (task.task_name, task.task_id) == ("validate", "m-1")


def test_rounds_appear_in_the_meta(job: Any, agent: FlareAgent) -> None:
    job.send_task(current_round=3, num_rounds=10)
    task = agent.get_task()
    assert task is not None
    assert task.data.meta == {"current_round": 3, "total_rounds": 10}


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ({"no": "shareable"}, RuntimeError, "must hold a Shareable, got dict"),
        (Shareable(), ValueError, "holds no DXO"),
    ],
)
def test_a_task_that_cannot_be_converted_is_answered_and_raised(
    job: Any,
    agent: FlareAgent,
    background: Any,
    patience: float,
    data: object,
    error: type[Exception],
    text: str,
) -> None:
    job.send_task("bad", data=data)
    waiting = background(agent.get_task)
    reply = job.take_result()
    assert reply.req_id == "bad"
    assert reply.data.get_return_code() == ReturnCode.BAD_TASK_DATA
    assert text in reply.data.get_header(HeaderKey.ERROR)
    with pytest.raises(error, match=text):
        waiting.result(patience)
    job.send_task("good")
    task = agent.get_task()
    assert task is not None
    assert task.task_id == "good"


class PicksTheWeights(FlareAgent):
    def shareable_to_task_data(self, shareable: Shareable) -> Any:
        return shareable["DXO"]["data"]["w"]


def test_a_conversion_of_ones_own_makes_the_data_and_its_errors(
    job: Any, new_agent: Callable[..., FlareAgent], background: Any, patience: float
) -> None:
    agent = new_agent(PicksTheWeights)
    agent.start()
    job.send_task("task-1", data=DXO(DataKind.WEIGHTS, {"other": 1}).to_shareable())
    waiting = background(agent.get_task)
    assert "KeyError" in job.take_result().data.get_header(HeaderKey.ERROR)
    with pytest.raises(KeyError):
        waiting.result(patience)
    job.send_task("task-2")
    task = agent.get_task()
    assert task is not None
    assert task.data.tolist() == [1.0, 2.0]


class CannotSayError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class FailsToConvert(FlareAgent):
    error: Exception = ValueError("no such layer")

    def shareable_to_task_data(self, shareable: Shareable) -> Any:
        if "bad" in shareable.get_header(HeaderKey.TASK_ID):
            raise self.error
        return super().shareable_to_task_data(shareable)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(ValueError("layer \udcff"), "ValueError: layer ?", id="no text"),
        pytest.param(ValueError("x" * 10**6 + " the end"), "x the end", id="long"),
        pytest.param(CannotSayError(), "CannotSayError", id="silent"),
    ],
)
def test_whatever_a_conversion_raises_is_told_and_raised(
    job: Any,
    new_agent: Callable[..., FlareAgent],
    background: Any,
    patience: float,
    error: Exception,
    told: str,
) -> None:
    agent = new_agent(FailsToConvert)
    agent.error = error  # type: ignore[attr-defined]
    agent.start()
    job.send_task("bad")
    waiting = background(agent.get_task)
    text = job.take_result().data.get_header(HeaderKey.ERROR)
    assert told in text
    assert len(text) <= 16 * 1024
    assert waiting.exception(patience) is error


def test_an_error_reaches_its_caller_soon_though_the_client_job_takes_no_answer(
    job: Any,
    new_agent: Callable[..., FlareAgent],
    background: Any,
    patience: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answers, "ANSWER_SECONDS", 0.05)
    # That the client job reads our heartbeats shows life, but it does not take the answer.
    agent = new_agent(FailsToConvert, heartbeat_interval=0.01)
    agent.start()
    message = job.send_task("bad")
    waiting = background(agent.get_task)
    job.read_result()  # read, but never accepted
    with pytest.raises(ValueError, match="no such layer"):
        waiting.result(patience)
    job.send(message)  # asked for again, and again the answer is not taken
    job.send_task("good")
    assert agent.get_task().task_id == "good"


def test_an_answer_that_was_not_taken_is_given_again(
    job: Any,
    new_agent: Callable[..., FlareAgent],
    background: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answers, "ANSWER_SECONDS", 0.05)
    agent = new_agent(FailsToConvert)
    agent.start()
    message = job.send_task("bad")
    with pytest.raises(ValueError, match="no such layer"):
        agent.get_task()
    job.read_result()
    job.send(message)
    background(agent.get_task)
    again = job.take_result()
    assert again.data.get_return_code() == ReturnCode.BAD_TASK_DATA
    assert "no such layer" in again.data.get_header(HeaderKey.ERROR)


class Sleeper(FaultPipe):
    """A pipe that cannot wake its reader: it looks when it is told to, and else it sleeps."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        self.slept: list[float] = []

    def can_wake(self) -> bool:
        return False

    def receive(self, timeout: float | None = None) -> Message | None:
        message = super().receive(0)
        if message is None and timeout:
            self.slept.append(timeout)
            time.sleep(timeout)
        return message


def test_read_interval_is_how_often_a_pipe_is_looked_at_that_cannot_wake(
    new_pipe: Any,
    job: Any,
    new_agent: Callable[..., FlareAgent],
    background: Any,
    patience: float,
) -> None:
    pipe = Sleeper(new_pipe())
    agent = new_agent(pipe=pipe, read_interval=0.02)
    agent.start()
    for number in range(3):
        waiting = background(agent.get_task)
        job.send_task(f"task-{number}")
        assert waiting.result(patience).task_id == f"task-{number}"
        submitted = background(agent.submit_result, None)
        job.take_result()
        assert submitted.result(patience) is True
    assert set(pipe.slept) == {0.02}


class Interrupted(FlareAgent):
    interrupts = 1

    def shareable_to_task_data(self, shareable: Shareable) -> Any:
        if self.interrupts:
            self.interrupts -= 1
            raise KeyboardInterrupt
        return super().shareable_to_task_data(shareable)


def test_an_interrupted_get_task_loses_no_task(
    job: Any, new_agent: Callable[..., FlareAgent]
) -> None:
    agent = new_agent(Interrupted)
    agent.start()
    job.send_task("task-1")
    with pytest.raises(KeyboardInterrupt):
        agent.get_task()
    task = agent.get_task()
    assert task is not None
    assert task.task_id == "task-1"


def test_what_the_trainer_has_let_go_of_is_not_kept_while_it_waits(
    job: Any, agent: FlareAgent, background: Callable[..., Future[Any]]
) -> None:
    job.send_task()  # before it is asked for
    tasks = agent.tasks()
    task = next(tasks)
    weights = weakref.ref(task.data.data["w"])
    submitting = background(agent.submit_result, DXO(DataKind.WEIGHTS, {"w": np.zeros(2)}))
    job.take_result()
    assert submitting.result(60) is True
    del task
    waiting = background(next, tasks)
    until = time.monotonic() + 20
    while weights() is not None:
        assert time.monotonic() < until, "the task's weights are kept"
        time.sleep(0.001)
    job.send_task("task-2")
    assert waiting.result(60).task_id == "task-2"
