from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant.client.flare_agent import (
    AgentAbortException,
    AgentClosed,
    AgentEndException,
    AgentPeerGoneException,
    CallStateError,
    FlareAgent,
    FlareAgentException,
)
from federant.exchange import DXO, DataKind, HeaderKey
from federant.pipe import LocalPipe, MemoryPipe, Message, Mode, PipeHandler

RESULT = DXO(DataKind.WEIGHTS, {"w": np.zeros(2)})


def abort(job: Any) -> None:
    job.tasks.notify_abort("site policy")


def end(job: Any) -> None:
    job.tasks.notify_end("all rounds done")


def leave(job: Any) -> None:
    job.leave()


ENDINGS = [
    pytest.param(abort, AgentAbortException, "aborted the work: site policy", id="abort"),
    pytest.param(end, AgentEndException, "the job has ended: all rounds done", id="end"),
    pytest.param(leave, AgentPeerGoneException, "said goodbye without ending the job", id="gone"),
]


def test_the_errors_form_one_tree() -> None:
    assert issubclass(AgentClosed, FlareAgentException)
    assert issubclass(CallStateError, FlareAgentException)
    for kind in (AgentAbortException, AgentEndException, AgentPeerGoneException):
        assert issubclass(kind, AgentClosed)


@pytest.mark.parametrize(("ending", "error", "text"), ENDINGS)
def test_a_waiting_get_task_says_how_it_ended(
    job: Any,
    agent: FlareAgent,
    background: Any,
    patience: float,
    ending: Callable[[Any], None],
    error: type[Exception],
    text: str,
) -> None:
    waiting = background(agent.get_task)
    ending(job)
    with pytest.raises(error, match=text):
        waiting.result(patience)
    with pytest.raises(error, match=text):
        agent.get_task(timeout=0)


@pytest.mark.parametrize(("ending", "error", "text"), ENDINGS)
def test_a_waiting_submit_result_is_false_and_get_task_says_why(
    job: Any,
    agent: FlareAgent,
    background: Any,
    patience: float,
    ending: Callable[[Any], None],
    error: type[Exception],
    text: str,
) -> None:
    job.send_task()
    task = agent.get_task()
    assert task is not None
    waiting = background(agent.submit_result, RESULT)
    job.read_result()
    ending(job)
    assert waiting.result(patience) is False
    assert task.cancelled is True
    with pytest.raises(error, match=text):
        agent.get_task()
    with pytest.raises(CallStateError):
        agent.submit_result(RESULT)


def test_a_busy_trainer_can_see_the_end_and_its_result_is_not_taken(
    job: Any, agent: FlareAgent
) -> None:
    job.send_task()
    task = agent.get_task()
    assert task is not None
    abort(job)
    # The end is noted just after its message was read; get_task cannot miss it for long.
    with pytest.raises((AgentAbortException, CallStateError)):
        agent.get_task(timeout=0)
    assert agent.submit_result(RESULT) is False
    with pytest.raises(AgentAbortException):
        agent.get_task()
    assert task.cancelled is True


def test_tasks_that_wait_when_the_job_ends_are_not_delivered(job: Any, agent: FlareAgent) -> None:
    job.send_task("task-1")
    agent.get_task()
    job.send_task("task-2")
    end(job)
    agent.submit_result(RESULT)
    with pytest.raises(AgentEndException):
        agent.get_task()


def test_a_client_job_that_is_silent_counts_as_gone(new_agent: Callable[..., FlareAgent]) -> None:
    agent = new_agent(heartbeat_interval=0.02, heartbeat_timeout=0.05)
    agent.start()  # nobody is at the other end
    with pytest.raises(
        AgentPeerGoneException, match=r"is out of reach: no sign of life for 0.05 s"
    ):
        agent.get_task()


def test_a_trainer_that_is_refused_is_told_at_once_and_why(
    tmp_path: Path, background: Any, patience: float
) -> None:
    folder = tmp_path / "refusing"
    handler = PipeHandler(LocalPipe(Mode.PASSIVE, folder, "the token"), heartbeat_timeout=0)
    handler.pipe.open("task")
    handler.start()

    def trainer(token: str) -> FlareAgent:
        return FlareAgent(LocalPipe(Mode.ACTIVE, folder, token), heartbeat_timeout=0)

    with trainer("another") as agent:
        refusal = background(agent.get_task).exception(patience)
    assert isinstance(refusal, AgentPeerGoneException)
    assert "the client job is out of reach" in str(refusal)
    assert "the token is not the one of this launch" in str(refusal)
    with trainer("the token"):
        assert handler.peer_is_up_or_dead.wait(patience)
        with trainer("the token") as second:
            refusal = background(second.get_task).exception(patience)
    assert isinstance(refusal, AgentPeerGoneException)
    assert "holds this channel" in str(refusal)
    handler.stop()


def test_without_a_heartbeat_timeout_a_silent_client_job_never_counts_as_gone(
    new_agent: Callable[..., FlareAgent], new_pipe: Any, background: Any, patience: float
) -> None:
    agent = new_agent(heartbeat_interval=0.02, heartbeat_timeout=0)
    agent.start()  # nobody is at the other end
    waiting = background(agent.get_task)
    for _ in range(5):  # for longer than it takes another agent to give up, five times
        impatient = FlareAgent(
            MemoryPipe("nobody"), heartbeat_interval=0.02, heartbeat_timeout=0.05
        )
        with impatient, pytest.raises(AgentPeerGoneException):
            impatient.get_task()
    assert not waiting.done()
    pipe = new_pipe(Mode.PASSIVE)
    pipe.open("task")
    shareable = DXO(DataKind.WEIGHTS, {}).to_shareable()
    assert pipe.send(Message.new_request("train", shareable, "task-1"), patience)
    assert waiting.result(patience).task_id == "task-1"
    pipe.close()


def test_the_first_ending_stands(job: Any, agent: FlareAgent, background: Any) -> None:
    waiting = background(agent.get_task)
    abort(job)
    with pytest.raises(AgentAbortException):
        waiting.result()
    agent.stop()
    with pytest.raises(AgentAbortException):
        agent.get_task()


def test_a_peer_cannot_say_of_itself_that_it_is_gone(job: Any, agent: FlareAgent) -> None:
    job.send(Message.new_request("_PEER_GONE_", {"clean": True, "text": "hostile"}))
    job.send_task("task-1")
    assert agent.get_task() is not None


def test_the_end_of_one_task_is_no_end_of_the_job(
    job: Any, agent: FlareAgent, background: Any, patience: float, caplog: Any
) -> None:
    job.send_task("task-1")
    task = agent.get_task()
    assert task is not None
    waiting = background(agent.submit_result, RESULT)
    job.read_result()
    job.cancel("task-1", "its deadline passed")
    assert waiting.result(patience) is False
    assert task.cancelled is True
    assert "its deadline passed" in caplog.text
    job.send_task("task-2")
    task = agent.get_task()
    assert task is not None
    assert (task.task_id, task.cancelled) == ("task-2", False)


def test_a_trainer_that_sees_the_end_of_its_task_asks_for_the_next(
    job: Any, agent: FlareAgent
) -> None:
    job.send_task("task-1")
    first = agent.get_task()
    assert first is not None
    job.cancel("task-1", "the round is over")
    job.send_task("task-2")
    second = agent.get_task()
    assert second is not None
    assert first.cancelled is True
    assert second.task_id == "task-2"


def test_a_task_that_ended_before_it_began_is_not_delivered(job: Any, agent: FlareAgent) -> None:
    job.send_task("task-1")
    job.cancel("task-1", "the round is over")
    job.send_task("task-2")
    job.cancel("unknown", "the round is over")
    task = agent.get_task()
    assert task is not None
    assert task.task_id == "task-2"
    assert task.cancelled is False


def test_a_task_that_ended_and_is_asked_for_again_is_answered_with_why(
    job: Any, agent: FlareAgent, background: Any
) -> None:
    message = job.send_task("task-1")
    agent.get_task()
    job.cancel("task-1", "the round is over")
    job.send_task("task-2")
    agent.get_task()
    job.send(message)
    submitted = background(agent.submit_result, RESULT)
    job.take_result()
    assert submitted.result() is True
    background(agent.get_task)
    assert "the round is over" in job.take_result().data.get_header(HeaderKey.ERROR)
    agent.stop()


@pytest.mark.parametrize(("ending", "error"), [(end, None), (abort, AgentAbortException)])
def test_the_loop_over_tasks_ends_with_the_job(
    job: Any,
    agent: FlareAgent,
    background: Any,
    patience: float,
    ending: Callable[[Any], None],
    error: type[Exception] | None,
) -> None:
    seen: list[str] = []

    def trainer() -> None:
        for task in agent.tasks():
            seen.append(task.task_id)
            agent.submit_result(task.data)

    training = background(trainer)
    for number in range(3):
        job.send_task(f"task-{number}")
        job.take_result()
    ending(job)
    assert type(training.exception(patience)) is (error or type(None))
    assert seen == ["task-0", "task-1", "task-2"]


def test_the_loop_over_tasks_ends_with_stop(
    agent: FlareAgent, background: Any, patience: float
) -> None:
    training = background(list, agent.tasks())
    agent.stop()
    assert training.result(patience) == []


def test_a_result_at_hand_beats_the_news_that_the_client_job_is_gone(
    job: Any, agent: FlareAgent, background: Any, patience: float
) -> None:
    job.send_task()
    agent.get_task()
    waiting = background(agent.submit_result, RESULT)
    job.take_result()
    leave(job)
    assert waiting.result(patience) is True


def test_a_client_job_that_comes_late_finds_the_agent(
    new_pipe: Any, new_agent: Callable[..., FlareAgent], background: Any, patience: float
) -> None:
    agent = new_agent()
    agent.start()
    waiting = background(agent.get_task)
    pipe = new_pipe(Mode.PASSIVE)
    pipe.open("task")
    shareable = DXO(DataKind.WEIGHTS, {}).to_shareable()
    assert pipe.send(Message.new_request("train", shareable, "task-1"), patience)
    assert waiting.result(patience).task_id == "task-1"
    pipe.close()
