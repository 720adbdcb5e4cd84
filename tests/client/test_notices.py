"""What a trainer and its client job let each other's people know of a task."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from federant.client import FlareAgent, notices
from federant.exchange import DXO, DataKind
from federant.pipe import Message, Topic

REFUSAL = "RESULT_NOT_FINITE: 'w' holds nan; a model's numbers must be finite"


def refuse(job: Any, text: Any = REFUSAL) -> None:
    job.send(Message.new_request(Topic.NOTICE, {"task_id": "task-1", "text": text}))


def test_why_the_server_refused_a_result_is_logged_and_kept_and_the_work_goes_on(
    job: Any,
    agent: FlareAgent,
    background: Callable[..., Future[Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert agent.last_refusal == ""
    job.send_task()
    assert agent.get_task() is not None
    submitting = background(agent.submit_result, DXO(DataKind.WEIGHTS, {"w": float("nan")}))
    job.take_result()
    assert submitting.result(60) is True  # the client job has it; the server judges it later
    refuse(job)
    job.send_task("task-2")  # comes after the notice
    assert agent.get_task() is not None
    assert agent.last_refusal == REFUSAL
    assert f"result refused task_id=task-1 reason={REFUSAL}" in caplog.text


def test_a_notice_that_is_none_harms_nothing(job: Any, agent: FlareAgent) -> None:
    job.send(Message.new_request(Topic.NOTICE, "no dict"))
    job.send_task()
    assert agent.get_task() is not None
    assert agent.last_refusal == ""


def test_a_task_that_the_trainer_does_not_ask_for_is_told_to_both_sides(
    job: Any,
    agent: FlareAgent,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    background: Callable[..., Future[Any]],
) -> None:
    monkeypatch.setattr(notices, "UNASKED_SECONDS", 0.05)
    told: Future[Message] = Future()
    job.tasks.set_notice_cb(told.set_result)
    job.send_task()
    data = told.result(60).data
    assert data["task_id"] == "task-1"
    for words in ("task train task-1", "not asked for it", "get_task()", "flare.receive()"):
        assert words in data["text"]
        assert words in caplog.text
    task = agent.get_task()  # it is still there
    assert task is not None
    assert task.task_id == "task-1"
