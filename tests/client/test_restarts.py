"""A client job that is killed, as the agent in its trainer sees it; real processes."""

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant.client.flare_agent import AgentPeerGoneException, FlareAgent
from federant.exchange import DXO, DataKind
from federant.pipe import LocalPipe, Mode

CLIENT_JOB = """
    import sys
    import numpy as np
    from federant.exchange import DXO, DataKind
    from federant.pipe import LocalPipe, Message, Mode, PipeHandler

    folder, first_life = sys.argv[1], sys.argv[2] == "first"
    pipe = LocalPipe(Mode.PASSIVE, folder)
    handler = PipeHandler(pipe, heartbeat_interval=0.1, heartbeat_timeout=0)
    pipe.open("task")
    handler.start()
    print("ready", flush=True)
    weights = DXO(DataKind.WEIGHTS, {"w": np.ones(100_000)})
    task = Message.new_request("train", weights.to_shareable(), "task-1")
    assert handler.send_to_peer(task, timeout=60)
    result = handler.wait_next(60)
    print("read", result.req_id, result.data["DXO"]["data"]["w"].sum(), flush=True)
    if not first_life:
        assert handler.accept(result)
        print("accepted", flush=True)
    sys.stdin.read()
"""


def line(job: subprocess.Popen[str]) -> str:
    assert job.stdout is not None
    return job.stdout.readline().strip()


@pytest.fixture
def start_job(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a client job that gives out task-1; only from its second life on it accepts."""
    started: list[subprocess.Popen[str]] = []

    def start(life: str) -> subprocess.Popen[str]:
        job = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CLIENT_JOB), str(tmp_path / "pipe"), life],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(job)
        assert line(job) == "ready"
        return job

    yield start
    for job in started:
        job.kill()
        job.communicate()


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[FlareAgent]:
    pipe = LocalPipe(Mode.ACTIVE, tmp_path / "pipe")
    with FlareAgent(pipe, heartbeat_interval=0.1, heartbeat_timeout=120.0) as agent:
        yield agent


def test_the_next_client_job_takes_the_result_that_a_killed_one_had_not_accepted(
    start_job: Any, trainer: FlareAgent, background: Any, patience: float
) -> None:
    first = start_job("first")
    task = trainer.get_task()
    assert task is not None
    task.data.data["w"] += 1  # lies where the killed one wrote it
    waiting = background(trainer.submit_result, task.data)
    assert line(first) == "read task-1 200000.0"
    first.kill()
    first.wait()
    second = start_job("second")  # and asks for the task again
    assert line(second) == "read task-1 200000.0"
    assert waiting.result(patience) is True
    assert line(second) == "accepted"


def test_a_client_job_that_is_killed_and_never_comes_back_is_gone_after_the_timeout(
    start_job: Any, tmp_path: Path, background: Any, patience: float
) -> None:
    job = start_job("first")
    pipe = LocalPipe(Mode.ACTIVE, tmp_path / "pipe")
    with FlareAgent(pipe, heartbeat_interval=0.1, heartbeat_timeout=4.0) as agent:
        task = agent.get_task()
        assert task is not None
        waiting = background(agent.submit_result, DXO(DataKind.WEIGHTS, {"w": np.ones(2)}))
        assert line(job) == "read task-1 2.0"
        job.kill()
        assert waiting.result(patience) is False
        with pytest.raises(AgentPeerGoneException, match="no sign of life for 4 s"):
            agent.get_task()
