"""What is said beside tasks and results: a refusal to the trainer, a hint to whoever watches."""

from __future__ import annotations

import threading
import time

import pytest

from federant.client import notices
from federant.exchange import ReturnCode, Shareable
from federant.pipe import Message, Topic
from federant.site import exchanger as exchanger_module

from .conftest import Site, error_of, next_task, task, train, weights


def test_why_a_result_was_refused_reaches_the_trainer_that_gave_it(site: Site):
    exchanger = site.open()
    agent = site.serve(train)
    exchanger.execute(task(1), weights)
    exchanger.tell_refused("t1", "RESULT_NOT_FINITE: 'layer' holds nan")
    exchanger.execute(task(2), weights)
    assert agent.last_refusal == "RESULT_NOT_FINITE: 'layer' holds nan"


def test_why_a_result_was_refused_reaches_the_next_trainer_where_the_first_is_gone(site: Site):
    exchanger = site.open()
    exchanger.tell_refused("t1", "RESULT_NOT_FINITE: 'layer' holds nan")
    agent = site.serve(train)
    exchanger.execute(task(2), weights)
    exchanger.execute(task(3), weights)
    assert agent.last_refusal == "RESULT_NOT_FINITE: 'layer' holds nan"


class LeapingClock:
    """In the place of the module time: it is as far ahead as the test says."""

    ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


def test_a_task_that_the_trainer_does_not_ask_for_is_shown_and_told_at_its_time_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notices, "UNASKED_SECONDS", 0.05)
    clock = LeapingClock()
    monkeypatch.setattr(exchanger_module, "time", clock)
    exchanger = site.open()
    site.agent()
    deadline = time.monotonic() + 1000.0
    ended = site.run(lambda: exchanger.execute(task(deadline=deadline), weights))
    while not site.told:
        threading.Event().wait(0.01)
    clock.ahead = 1000.0
    exchanger.trainer_ended()  # it looks again
    ended.join(60)
    assert site.statuses == ["unasked"]
    (text,) = site.told
    assert "task train t1 reached the trainer" in text
    assert "call agent.get_task() or flare.receive()" in text
    rc, error = error_of(site.results[0])
    assert rc == ReturnCode.TASK_TIMEOUT
    assert text in error


def test_of_what_a_trainer_notes_the_first_of_the_task_in_hand_is_shown(site: Site):
    exchanger = site.open()
    pipe = site.bare_pipe()
    running = site.run(lambda: exchanger.execute(task(), weights))
    given = next_task(pipe)
    for number in range(3):
        for task_id in ("another", "t1"):
            note = {"task_id": task_id, "text": f"{task_id} {number}"}
            assert pipe.send(Message.new_request(Topic.NOTICE, note), 60)
    assert pipe.send(Message.new_reply("train", Shareable(), given.msg_id), 60)
    running.join(60)
    assert site.told == ["t1 0"]
