"""An agent that a test scripts, in the place of the one that talks to a client job."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
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

    def get_task(self, timeout: float | None = None) -> Task | None:  # noqa: ARG002
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
