import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from federant.client.flare_agent import CallStateError, FlareAgent
from federant.exchange import DXO, DataKind, ReturnCode, Shareable, from_shareable, make_reply
from federant.pipe import Message, Pipe
from federant.spool import SpoolDiskFullError, SpoolError
from federant.testing import FaultPipe

RESULT = DXO(DataKind.WEIGHTS, {"w": np.array([3.0])}, {"NUM_STEPS_CURRENT_ROUND": 7})


@pytest.fixture
def hold_task(job: Any) -> Callable[..., Message]:
    def hold(agent: FlareAgent, task_id: str = "task-1") -> Message:
        message: Message = job.send_task(task_id)
        assert agent.get_task() is not None
        return message

    return hold


def test_true_means_that_the_result_was_accepted(
    job: Any, agent: FlareAgent, hold_task: Any, background: Any, patience: float
) -> None:
    task = hold_task(agent)
    waiting = background(agent.submit_result, RESULT)
    reply = job.read_result()
    assert not waiting.done()  # read is not accepted
    job.tasks.accept(reply)
    assert waiting.result(patience) is True
    assert (reply.msg_type, reply.topic, reply.req_id) == ("REP", "train", task.msg_id)
    assert reply.data.get_return_code() == ReturnCode.OK
    result = from_shareable(reply.data)
    np.testing.assert_array_equal(result.data["w"], [3.0])
    assert result.meta == {"NUM_STEPS_CURRENT_ROUND": 7}


def test_without_a_result_only_the_return_code_travels(
    job: Any, agent: FlareAgent, hold_task: Any, background: Any, patience: float
) -> None:
    hold_task(agent)
    waiting = background(agent.submit_result, None, rc=ReturnCode.EMPTY_RESULT)
    reply = job.take_result()
    assert waiting.result(patience) is True
    assert reply.data.get_return_code() == ReturnCode.EMPTY_RESULT
    assert set(reply.data) == {"__headers__"}


def test_after_a_submission_the_next_task_comes(
    job: Any, agent: FlareAgent, hold_task: Any, background: Any
) -> None:
    for number in range(3):
        hold_task(agent, f"task-{number}")
        waiting = background(agent.submit_result, RESULT)
        assert job.take_result().req_id == f"task-{number}"
        assert waiting.result() is True


def test_without_a_task_there_is_nothing_to_submit_for(agent: FlareAgent) -> None:
    with pytest.raises(CallStateError, match="without a current task"):
        agent.submit_result(RESULT)


def test_a_second_result_for_the_same_task_is_refused(
    job: Any, agent: FlareAgent, hold_task: Any, background: Any, patience: float
) -> None:
    hold_task(agent)
    waiting = background(agent.submit_result, RESULT)
    job.take_result()
    waiting.result(patience)
    with pytest.raises(CallStateError, match="without a current task"):
        agent.submit_result(RESULT)


def test_of_two_calls_at_once_one_submits(
    job: Any, agent: FlareAgent, hold_task: Any, background: Any, patience: float
) -> None:
    hold_task(agent)
    first = background(agent.submit_result, RESULT)
    reply = job.read_result()
    with pytest.raises(CallStateError, match="already under way"):
        agent.submit_result(RESULT)
    job.tasks.accept(reply)
    assert first.result(patience) is True


def test_of_four_threads_exactly_one_submits(
    job: Any, agent: FlareAgent, hold_task: Any, background: Any, patience: float
) -> None:
    for number in range(10):
        hold_task(agent, f"task-{number}")
        gate = threading.Barrier(4)

        def submit(gate: threading.Barrier = gate) -> bool:
            gate.wait(patience)
            return agent.submit_result(RESULT)

        calls = [background(submit) for _ in range(4)]
        job.take_result()
        outcomes = [call.exception(patience) or call.result() for call in calls]
        assert outcomes.count(True) == 1
        assert sum(isinstance(outcome, CallStateError) for outcome in outcomes) == 3
    assert job.tasks.get_next() is None  # one result a task


def test_a_refused_result_is_false_and_the_task_is_over(
    job: Any, agent: FlareAgent, hold_task: Any, background: Any, patience: float, caplog: Any
) -> None:
    hold_task(agent)
    waiting = background(agent.submit_result, RESULT)
    job.tasks.refuse(job.read_result(), ReturnCode.RESULT_NOT_FINITE, "w holds NaN")
    assert waiting.result(patience) is False
    assert "rc=RESULT_NOT_FINITE" in caplog.text
    assert "w holds NaN" in caplog.text
    with pytest.raises(CallStateError):
        agent.submit_result(RESULT)
    assert agent.get_task(timeout=0) is None


def test_a_result_that_nobody_reads_is_false_after_the_timeout(
    hold_task: Any, job: Any, new_agent: Callable[..., FlareAgent]
) -> None:
    agent = new_agent(submit_result_timeout=0.05, resend_interval=None)
    agent.start()
    hold_task(agent)
    job.tasks.pause()  # reads nothing
    assert agent.submit_result(RESULT) is False
    with pytest.raises(CallStateError):
        agent.submit_result(RESULT)


def test_tries_go_on_until_max_resends_and_count_once(
    job: Any, hold_task: Any, new_agent: Callable[..., FlareAgent]
) -> None:
    agent = new_agent(submit_result_timeout=0.05, resend_interval=0.01, max_resends=3)
    agent.start()
    hold_task(agent)
    assert agent.submit_result(RESULT) is False
    assert job.read_result().req_id == "task-1"
    assert job.tasks.get_next() is None  # however often it was sent


def test_without_a_limit_tries_go_on_until_the_result_is_accepted(
    job: Any,
    hold_task: Any,
    new_agent: Callable[..., FlareAgent],
    background: Any,
    patience: float,
) -> None:
    agent = new_agent(submit_result_timeout=0.02, resend_interval=0.01, max_resends=None)
    agent.start()
    hold_task(agent)
    job.tasks.pause()
    waiting = background(agent.submit_result, RESULT)
    job.tasks.resume()
    job.take_result()
    assert waiting.result(patience) is True


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"w": 1}, "must be a DXO or None, got dict"),
        (DXO(DataKind.APP_DEFINED, {"layer": [1, 2, object()]}), r"\['layer'\]\[2\]"),
    ],
)
def test_a_result_that_cannot_travel_leaves_the_task_current(
    job: Any,
    agent: FlareAgent,
    hold_task: Any,
    background: Any,
    patience: float,
    result: Any,
    text: str,
) -> None:
    hold_task(agent)
    with pytest.raises(TypeError, match=text):
        agent.submit_result(result)
    waiting = background(agent.submit_result, RESULT)
    job.take_result()
    assert waiting.result(patience) is True


def test_a_try_may_wait_longer_than_any_wait(
    job: Any,
    hold_task: Any,
    new_agent: Callable[..., FlareAgent],
    background: Any,
    patience: float,
) -> None:
    agent = new_agent(submit_result_timeout=1e12)
    agent.start()
    hold_task(agent)
    job.tasks.pause()
    waiting = background(agent.submit_result, RESULT)
    job.tasks.resume()
    job.take_result()
    assert waiting.result(patience) is True
    assert agent.log(RESULT)
    job.read_metric()


class FullDisk(FaultPipe):
    """A pipe whose spool has no room for the n-th try (from 0) at a result."""

    def __init__(self, pipe: Pipe, full_at: int) -> None:
        super().__init__(pipe)
        self.tries = 0
        self.full_at = full_at

    def send(self, msg: Message, timeout: float | None = None) -> bool:
        if msg.msg_type == Message.REPLY:
            self.tries += 1
            if self.tries == self.full_at + 1:
                raise SpoolDiskFullError(28, "No space left on device")
        return super().send(msg, timeout)


def test_a_disk_that_is_full_at_once_leaves_the_task_current(
    new_pipe: Any,
    job: Any,
    hold_task: Any,
    new_agent: Callable[..., FlareAgent],
    background: Any,
    patience: float,
) -> None:
    agent = new_agent(pipe=FullDisk(new_pipe(), full_at=0))
    agent.start()
    hold_task(agent)
    with pytest.raises(SpoolError, match="No space left"):
        agent.submit_result(RESULT)
    waiting = background(agent.submit_result, RESULT)
    job.take_result()
    assert waiting.result(patience) is True


def test_a_disk_that_is_full_at_a_later_try_ends_the_submission(
    new_pipe: Any,
    job: Any,
    hold_task: Any,
    new_agent: Callable[..., FlareAgent],
    background: Any,
    patience: float,
    caplog: Any,
) -> None:
    agent = new_agent(
        pipe=FullDisk(new_pipe(), full_at=1), submit_result_timeout=1.0, resend_interval=0.01
    )
    agent.start()
    hold_task(agent)
    waiting = background(agent.submit_result, RESULT)
    job.read_result()  # the first try; it may yet be accepted
    assert waiting.result(patience) is False
    assert "No space left" in caplog.text
    with pytest.raises(CallStateError):  # a second result could be taken for the first
        agent.submit_result(RESULT)


@pytest.mark.parametrize(
    ("rc", "error", "text"),
    [
        (None, TypeError, r"rc must be a str such as RC\.OK, got None of type NoneType"),
        ("", ValueError, r"rc must have 1 to 200 characters \(RETURN_CODE_LENGTH\), got 0: ''"),
        ("E" * 201, ValueError, r"1 to 200 characters \(RETURN_CODE_LENGTH\), got 201: 'EEE"),
    ],
)
def test_a_return_code_that_no_site_takes_is_refused_and_the_task_is_current(
    job: Any,
    agent: FlareAgent,
    hold_task: Any,
    background: Any,
    patience: float,
    rc: Any,
    error: type[Exception],
    text: str,
) -> None:
    hold_task(agent)
    with pytest.raises(error, match=text):
        agent.submit_result(RESULT, rc)
    waiting = background(agent.submit_result, RESULT, "E" * 200)
    assert job.take_result().data.get_return_code() == "E" * 200
    assert waiting.result(patience) is True


class SendsLists(FlareAgent):
    def task_result_to_shareable(self, result: Any, rc: str) -> Shareable:
        if isinstance(result, str):
            return result  # type: ignore[return-value]
        if isinstance(result, Shareable):
            return result
        shareable = DXO(DataKind.METRICS, {"values": list(result)}).to_shareable()
        shareable.set_return_code(rc)
        return shareable


def test_a_conversion_of_ones_own_makes_what_travels(
    job: Any,
    hold_task: Any,
    new_agent: Callable[..., FlareAgent],
    background: Any,
    patience: float,
) -> None:
    agent = new_agent(SendsLists)
    agent.start()
    hold_task(agent)
    with pytest.raises(TypeError, match="must return a Shareable, got str"):
        agent.submit_result("text")
    with pytest.raises(TypeError, match="not iterable"):
        agent.submit_result(1)
    with pytest.raises(ValueError, match="the return code in a result must have 1 to 200"):
        agent.submit_result(make_reply("E" * 201))
    waiting = background(agent.submit_result, (1, 2))
    reply = job.take_result()
    assert waiting.result(patience) is True
    assert from_shareable(reply.data).data == {"values": [1, 2]}


def test_over_a_pipe_that_cannot_resend_there_is_one_try(
    new_pipe: Any,
    job: Any,
    hold_task: Any,
    new_agent: Callable[..., FlareAgent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe = new_pipe()
    sent: list[str] = []
    send = pipe.send

    def note_and_send(message: Message, timeout: float | None = None) -> bool:
        sent.append(message.topic)
        return bool(send(message, timeout))

    monkeypatch.setattr(pipe, "send", note_and_send)
    monkeypatch.setattr(pipe, "can_resend", lambda: False)
    agent = new_agent(pipe=pipe, submit_result_timeout=0.05, resend_interval=0.01, max_resends=5)
    agent.start()
    hold_task(agent)
    assert agent.submit_result(RESULT) is False
    assert sent.count("train") == 1
