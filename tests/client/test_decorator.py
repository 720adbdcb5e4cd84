"""Functions that are handed the model, and whose return values are sent."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import federant.client as flare
from federant.exchange import DXO, DataKind, FLModel, HeaderKey, from_shareable
from federant.pipe import LocalPipe, Message, Mode, PipeHandler

Background = Callable[..., Future[Any]]


class ClientJob:
    """Gives tasks on the channel that the default context has joined."""

    def __init__(self, folder: Path) -> None:
        pipe = LocalPipe(Mode.PASSIVE, folder)
        self.handler = PipeHandler(pipe, heartbeat_interval=3600.0, heartbeat_timeout=0.0)
        pipe.open("task")
        self.handler.start()

    def give(self, task: str) -> None:
        body = DXO(DataKind.WEIGHTS, {"w": np.array([1.0])}).to_shareable()
        body.set_header(HeaderKey.TASK_NAME, task)
        assert self.handler.send_to_peer(Message.new_request(task, body), timeout=60.0)

    def take(self) -> DXO:
        reply = self.handler.wait_next(20.0)
        assert reply is not None, "no result came"
        self.handler.accept(reply)
        return from_shareable(reply.data)


@pytest.fixture
def client_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FEDERANT_PIPE", str(tmp_path / "pipe"))
    monkeypatch.setattr("sys.excepthook", lambda *_: None)  # join() puts its own in its place
    job = ClientJob(tmp_path / "pipe")
    flare.init()
    yield job
    flare.shutdown()
    job.handler.stop()


@flare.train
def add(model: FLModel, amount: float = 1.0) -> FLModel:
    return FLModel(params={"w": model.params["w"] + amount})


@flare.evaluate(unused="option")
def score(input_model: FLModel, scale: float = 1.0) -> dict[str, float]:
    return {"sum": scale * float(input_model.params["w"].sum())}


def test_scores_of_the_received_model_go_with_the_trained_one(
    client_job: ClientJob, background: Background
) -> None:
    client_job.give("train")
    assert score("whatever is passed here", scale=2.0) == {"sum": 2.0}
    trained = background(add, None, 4.0)
    dxo = client_job.take()
    trained.result()
    np.testing.assert_array_equal(dxo.data["w"], [5.0])
    assert dxo.meta == {"initial_metrics": {"sum": 2.0}}


def test_scores_do_not_outlive_their_round(client_job: ClientJob, background: Background) -> None:
    for evaluates in (True, False):
        client_job.give("train")
        if evaluates:
            score()
        trained = background(add, model="replaced", amount=2.0)
        assert bool(client_job.take().meta) is evaluates
        trained.result()


def test_scores_alone_are_sent_where_the_task_is_to_evaluate(
    client_job: ClientJob, background: Background
) -> None:
    @flare.evaluate
    def accuracy(model: FLModel) -> float:
        return 0.75

    client_job.give("validate")
    evaluated = background(accuracy)
    dxo = client_job.take()
    assert evaluated.result() == 0.75
    assert (dxo.data_kind, dxo.data) == (DataKind.METRICS, {"metric": 0.75})


def test_a_function_that_returns_something_else_is_told_so(client_job: ClientJob) -> None:
    client_job.give("train")
    with pytest.raises(TypeError, match="forgets, decorated with train, must return an FLModel"):
        flare.train(forgets)()
    with pytest.raises(
        TypeError, match="must return a dict of scores or a number, it returned None"
    ):
        flare.evaluate(forgets)()


def forgets(model: FLModel) -> None:
    """Returns nothing."""


def test_a_function_without_arguments_cannot_be_decorated() -> None:
    with pytest.raises(TypeError, match="takes no argument: its first one is to be"):
        flare.train(lambda: None)
