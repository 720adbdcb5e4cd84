"""A client job's end of the task pipe, and the real agents at its other end."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant.client import FlareAgent
from federant.exchange import DXO, DataKind, HeaderKey, Shareable
from federant.pipe import LocalPipe, MemoryPipe, Message, Mode, Pipe
from federant.site.attempt import ExchangeLimits
from federant.site.exchanger import SiteTask, TaskExchanger
from federant.site.journal import Journal, StoredResult
from federant.site.launcher import Exit

WEIGHTS = {"layer": np.arange(6, dtype=np.float32).reshape(2, 3)}


@dataclass
class FakeTrainer:
    """A process that the test kills and revives by hand."""

    external: bool = False
    exit: Exit | None = None
    one_task: bool = False
    replaceable: bool = False
    many_crashed: bool = False
    ensured: int = 0
    retired: int = 0
    killed: int = 0
    start: Callable[[], None] = lambda: None
    error: Exception | None = None

    def ensure(self) -> None:
        self.ensured += 1
        if self.error is not None:
            raise self.error
        self.exit = None
        self.start()

    def retire(self) -> None:
        self.retired += 1

    def kill(self) -> None:
        self.killed += 1
        self.exit = Exit(signal=9)

    def last_words(self) -> str:
        return "the last lines of its log:\nValueError: bad batch"


@dataclass
class Site:
    """One client job's end and what it told of itself."""

    journal: Journal
    pipe: Callable[[Mode], Pipe]
    trainer: FakeTrainer = field(default_factory=FakeTrainer)
    results: list[StoredResult] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    exchangers: list[TaskExchanger] = field(default_factory=list)
    agents: list[FlareAgent] = field(default_factory=list)
    bare_pipes: list[Pipe] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def open(self, **limits: Any) -> TaskExchanger:
        exchanger = TaskExchanger(
            self.pipe(Mode.PASSIVE),
            self.journal,
            self.trainer,
            job_id="job-7",
            site_name="site-1",
            on_result=lambda result, _: self.results.append(result),
            on_status=self.tell,
            limits=ExchangeLimits(**limits),
        )
        exchanger.start()
        self.exchangers.append(exchanger)
        return exchanger

    def tell(self, state: str, text: str) -> None:
        self.statuses.append(state)
        self.told.append(text)

    def agent(self) -> FlareAgent:
        agent = FlareAgent(self.pipe(Mode.ACTIVE))
        agent.start()
        self.agents.append(agent)
        return agent

    def bare_pipe(self) -> Pipe:
        """The trainer's end of the task pipe, without an agent on it."""
        pipe = self.pipe(Mode.ACTIVE)
        pipe.open("task")
        self.bare_pipes.append(pipe)
        return pipe

    def serve(self, work: Callable[[FlareAgent], object]) -> FlareAgent:
        """An agent with a trainer's thread that works with it."""
        agent = self.agent()
        self.run(lambda: work(agent))
        return agent

    def run(self, work: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.threads.append(thread)
        return thread

    def close(self) -> None:
        for pipe in self.bare_pipes:
            pipe.close()
        for agent in self.agents:
            agent.stop()
        for exchanger in self.exchangers:
            exchanger.close()
        for thread in self.threads:
            thread.join(60)
        self.journal.close()


@pytest.fixture(params=["memory", "local"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    token = uuid.uuid4().hex

    def pipe(mode: Mode) -> Pipe:
        if request.param == "memory":
            return MemoryPipe(token, mode)
        return LocalPipe(mode, tmp_path / "pipe", token, defer=mode is Mode.PASSIVE)

    made = Site(Journal(tmp_path / "journal.db"), pipe)
    yield made
    made.close()


def weights() -> Shareable:
    return DXO(DataKind.WEIGHTS, data=dict(WEIGHTS)).to_shareable()


def train(agent: FlareAgent) -> None:
    for task in agent.tasks():
        agent.submit_result(DXO(DataKind.WEIGHTS, data={"layer": task.data.data["layer"] + 1}))


def task(number: int = 1, **values: Any) -> SiteTask:
    return SiteTask(f"t{number}", 1, values.pop("name", "train"), **values)


def error_of(result: StoredResult | None) -> tuple[str, str]:
    assert result is not None
    return result.rc, result.headers[HeaderKey.ERROR]


def next_task(pipe: Pipe) -> Message:
    return next_message(pipe, "train")


def next_message(pipe: Pipe, topic: str) -> Message:
    while True:
        message = pipe.receive(10)
        assert message is not None
        if message.topic == topic:
            return message
