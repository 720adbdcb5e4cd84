import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from federant.client.flare_agent import AgentClosed, CallStateError, FlareAgent
from federant.exchange import DXO, AnalyticsDataType, DataKind, create_analytic_dxo
from federant.pipe import Message, PipeClosedError

RESULT = DXO(DataKind.WEIGHTS, {"w": np.zeros(2)})


def test_nothing_is_open_before_start(new_agent: Callable[..., FlareAgent]) -> None:
    agent = new_agent()
    assert agent.pipe is not None
    with pytest.raises(PipeClosedError):
        agent.pipe.receive()
    with pytest.raises(CallStateError, match="get_task before start"):
        agent.get_task(timeout=0)
    with pytest.raises(CallStateError, match="submit_result before start"):
        agent.submit_result(RESULT)
    with pytest.raises(CallStateError, match="log before start"):
        agent.log(create_analytic_dxo("loss", 1.0, AnalyticsDataType.SCALAR))


def test_start_waits_for_nobody(new_agent: Callable[..., FlareAgent]) -> None:
    agent = new_agent()
    agent.start()
    assert agent.get_task(timeout=0) is None


def test_start_and_stop_may_be_called_twice(job: Any, new_agent: Callable[..., FlareAgent]) -> None:
    agent = new_agent()
    agent.start()
    agent.start()
    job.send_task()
    assert agent.get_task() is not None
    agent.stop()
    agent.stop()


def test_a_stopped_agent_stays_closed(agent: FlareAgent) -> None:
    agent.stop()
    agent.start()
    with pytest.raises(AgentClosed, match=r"stop\(\) was called"):
        agent.get_task()


def test_as_a_context_it_starts_on_entry_and_stops_on_exit(
    job: Any, new_agent: Callable[..., FlareAgent]
) -> None:
    with new_agent() as agent:
        job.send_task()
        assert agent.get_task() is not None
    with pytest.raises(AgentClosed):
        agent.get_task()


def test_stop_wakes_a_blocked_get_task(agent: FlareAgent, background: Any, patience: float) -> None:
    waiting = background(agent.get_task)
    agent.stop()
    with pytest.raises(AgentClosed):
        waiting.result(patience)


def test_stop_wakes_a_blocked_submit_result(
    job: Any, agent: FlareAgent, background: Any, patience: float
) -> None:
    job.send_task()
    agent.get_task()
    waiting = background(agent.submit_result, RESULT)
    job.read_result()  # read, but never accepted
    agent.stop()
    assert waiting.result(patience) is False


def test_stop_closes_the_pipes_and_says_goodbye(
    job: Any, agent: FlareAgent, patience: float
) -> None:
    job.send_task()
    agent.stop()
    news = job.tasks.wait_next(patience)
    assert news.topic == "_PEER_GONE_"
    assert news.data["clean"] is True


def test_stop_leaves_open_what_it_is_told_to(new_agent: Callable[..., FlareAgent]) -> None:
    agent = new_agent(close_pipe=False, close_metric_pipe=False)
    agent.start()
    agent.stop()
    for pipe in (agent.pipe, agent.metric_pipe):
        assert pipe is not None
        assert pipe.receive() is None
        pipe.close()


def test_a_metric_pipe_that_cannot_open_leaves_no_pipe_open(new_pipe: Any, job: Any) -> None:
    pipe, taken = new_pipe(), new_pipe()
    taken.open("metric")
    agent = FlareAgent(pipe, metric_pipe=taken, heartbeat_timeout=0)
    with pytest.raises(OSError, match="is open already"):
        agent.start()
    with pytest.raises(PipeClosedError):
        pipe.receive()
    taken.close()
    agent.start()  # may be tried again
    agent.stop()


def test_a_forked_child_can_neither_use_nor_stop_the_agent(job: Any, agent: FlareAgent) -> None:
    job.send_task()
    agent.get_task()
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (agent.get_task, lambda: agent.submit_result(RESULT)):
            try:
                call()
            except CallStateError:
                refused += 1
        agent.report_crash(ValueError("in the child"))
        agent.stop()
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 2
    job.send(Message.new_request("train", None))  # the agent still reads
    with pytest.raises(CallStateError, match="is held"):
        agent.get_task(timeout=0)


def test_site_and_job_are_at_hand(new_agent: Callable[..., FlareAgent]) -> None:
    agent = new_agent(site_name="site-1", job_id="job-7")
    assert (agent.site_name, agent.job_id) == ("site-1", "job-7")
