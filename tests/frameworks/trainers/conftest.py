"""An agent that a test scripts, in the place of the one that talks, and a launcher of processes."""

from __future__ import annotations

import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from federant.client import AgentEndException, APIContext, FLModel, Task, api
from federant.exchange import DXO


class ScriptedAgent:
    """Gives the tasks in their order, then the end of the job; keeps copies of the results."""

    site_name, job_id = "site-1", "job-7"

    def __init__(self, tasks: list[tuple[str, FLModel]]) -> None:
        self._tasks = deque(Task(name, f"t{at}", data) for at, (name, data) in enumerate(tasks))
        self.results: list[FLModel] = []

    def get_task(self, timeout: float | None = None) -> Task | None:  # noqa: ARG002 - the agent's signature
        if not self._tasks:
            raise AgentEndException("the job has ended")
        return self._tasks.popleft()

    def submit_result(self, result: FLModel) -> bool:
        params = result.params
        if params is not None:
            params = {name: value.clone() for name, value in params.items()}
        self.results.append(FLModel(params=params, metrics=result.metrics, meta=result.meta))
        return True

    def log(self, record: DXO) -> bool:
        return record is not None

    def stop(self) -> None:
        """Nothing to stop."""


@pytest.fixture
def scripted() -> Callable[..., ScriptedAgent]:
    """``scripted(("train", FLModel(...)), ...)`` joins; the agent has the ``results``."""

    def join(*tasks: tuple[str, Any]) -> ScriptedAgent:
        agent = ScriptedAgent(list(tasks))
        api.use(APIContext("0", agent=agent))
        return agent

    return join


@pytest.fixture(scope="session")
def accelerate_two() -> Iterator[list[str]]:
    """`accelerate launch` with two processes, up to the script: on a processor `--multi_gpu` too.

    Its port is taken, so that each takes a free one and keeps it. With `--main_process_port 0` it
    would look for a free one and let go of it again, until its processes take it.
    """
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    options = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield [*launch, *options, "--main_process_port", str(taken.getsockname()[1])]
