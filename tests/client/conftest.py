"""The client job's end of both channels, played by a test, and the agent that talks to it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant.client.flare_agent import FlareAgent
from federant.exchange import DXO, DataKind, HeaderKey, Shareable
from federant.pipe import LocalPipe, MemoryPipe, Message, Mode, Pipe, PipeHandler, Topic

NewPipe = Callable[..., Pipe]

PATIENCE = 60.0  # seconds until a test that hangs is declared broken


class StandInJob:
    """Does what a test tells it on the passive ends of a task and a metric channel."""

    def __init__(self, new_pipe: NewPipe) -> None:
        self.task_pipe = new_pipe(Mode.PASSIVE)
        self.metric_pipe = new_pipe(Mode.PASSIVE)
        # It shows life only where a test wants it to.
        silent = {"heartbeat_interval": 3600.0, "heartbeat_timeout": 0.0}
        self.tasks = PipeHandler(self.task_pipe, **silent)
        self.metrics = PipeHandler(self.metric_pipe, **silent)

    def open(self) -> None:
        self.task_pipe.open("task")
        self.metric_pipe.open("metric")
        self.tasks.start()
        self.metrics.start()

    def send_task(
        self, task_id: str = "task-1", name: str = "train", data: Any = None, **headers: Any
    ) -> Message:
        if data is None:
            data = DXO(DataKind.WEIGHTS, {"w": np.array([1.0, 2.0])}).to_shareable()
        if isinstance(data, Shareable):
            for key, value in {
                HeaderKey.TASK_NAME: name,
                HeaderKey.TASK_ID: task_id,
                **headers,
            }.items():
                data.set_header(key, value)
        return self.send(Message.new_request(name, data, task_id))

    def send(self, message: Message) -> Message:
        assert self.tasks.send_to_peer(message, timeout=PATIENCE)
        return message

    def cancel(self, task_id: str, reason: str) -> None:
        self.send(Message.new_request(Topic.CANCEL, {"task_id": task_id, "reason": reason}))

    def read_result(self) -> Message:
        reply = self.tasks.wait_next(PATIENCE)
        assert reply is not None, "no result came"
        return reply

    def take_result(self) -> Message:
        """Reads a result and accepts it."""
        reply = self.read_result()
        self.tasks.accept(reply)
        return reply

    def read_metric(self) -> DXO:
        message = self.metrics.wait_next(PATIENCE)
        assert message is not None, "no metric came"
        assert isinstance(message.data, DXO)
        return message.data

    def leave(self) -> None:
        """Says goodbye on the task channel to an agent that was there."""
        assert self.tasks.peer_is_up_or_dead.wait(PATIENCE), "no agent came"
        self.tasks.stop()

    def close(self) -> None:
        self.tasks.stop()
        self.metrics.stop()


@pytest.fixture(params=["memory", "local"])
def new_pipe(request: pytest.FixtureRequest, tmp_path: Path) -> NewPipe:
    """Makes ends of one pipe, by default the agent's; every test runs over each kind of pipe."""
    if request.param == "memory":
        token = str(uuid.uuid4())
        return lambda mode=Mode.ACTIVE: MemoryPipe(token, mode)
    return lambda mode=Mode.ACTIVE: LocalPipe(mode, tmp_path / "pipe")


@pytest.fixture
def job(new_pipe: NewPipe) -> Iterator[StandInJob]:
    job = StandInJob(new_pipe)
    job.open()
    yield job
    job.close()


@pytest.fixture
def new_agent(new_pipe: NewPipe) -> Iterator[Callable[..., FlareAgent]]:
    """Makes agents with both channels; they are not started."""
    made: list[FlareAgent] = []

    def make(agent_class: type[FlareAgent] = FlareAgent, **options: Any) -> FlareAgent:
        options = {
            "pipe": new_pipe(),
            "metric_pipe": new_pipe(),
            "heartbeat_timeout": 0,
            **options,
        }
        agent = agent_class(**options)
        made.append(agent)
        return agent

    yield make
    for agent in made:
        agent.stop()


@pytest.fixture
def agent(job: StandInJob, new_agent: Callable[..., FlareAgent]) -> FlareAgent:
    agent = new_agent()
    agent.start()
    return agent


def in_background(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
    """Makes a call that may block, in a thread that nobody waits for: a test that fails ends."""
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(call(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is read
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome


@pytest.fixture
def background() -> Callable[..., Future[Any]]:
    return in_background


@pytest.fixture
def patience() -> float:
    return PATIENCE
