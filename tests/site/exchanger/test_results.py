"""A task goes out and one result comes back, journaled; over both kinds of pipe."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from federant import codec
from federant.client import FlareAgent, Task
from federant.exchange import DXO, DataKind, HeaderKey, MetaKey, ReturnCode, Shareable
from federant.pipe import Message, Mode
from federant.site.errors import TaskDataError
from federant.site.exchanger import SiteTask
from federant.site.journal import StoredResult

from .conftest import WEIGHTS, Site, error_of, next_message, next_task, task, train, weights


def test_a_task_is_done_and_its_result_is_journaled_before_it_is_accepted(site: Site):
    accepted: list[bool] = []

    def work(agent: FlareAgent) -> None:
        received = agent.get_task()
        assert received is not None
        accepted.append(agent.submit_result(DXO(DataKind.WEIGHTS, data=WEIGHTS)))
        assert [result.task_id for result in site.journal.results()] == ["t1"]

    exchanger = site.open()
    site.serve(work)
    result = exchanger.execute(task(), weights)
    site.threads[0].join(60)
    assert accepted == [True]
    assert site.results == [result] == site.journal.results()
    assert result is not None
    assert result.rc == ReturnCode.OK
    assert result.inline is not None
    body = codec.decode(result.inline).body
    np.testing.assert_array_equal(body["DXO"]["data"]["layer"], WEIGHTS["layer"])


class SlowList(list[Any]):
    """Takes its time to take something up."""

    def append(self, item: Any) -> None:
        threading.Event().wait(0.05)
        super().append(item)


def test_a_result_is_held_for_the_server_before_thenext_task_can_be_asked_for(site: Site):
    site.results = SlowList()
    exchanger = site.open()
    site.serve(train)
    for number in range(1, 4):
        assert exchanger.execute(task(number), weights) == site.results[-1]


def test_a_trainer_sees_the_task_with_its_ids_and_round(site: Site):
    seen: list[Task] = []
    bodies: list[Shareable] = []

    class Looking(FlareAgent):
        def shareable_to_task_data(self, shareable: Shareable) -> Any:
            bodies.append(shareable)
            return super().shareable_to_task_data(shareable)

    exchanger = site.open()
    agent = Looking(site.pipe(Mode.ACTIVE))
    agent.start()
    site.agents.append(agent)

    def work() -> None:
        received = agent.get_task()
        assert received is not None
        seen.append(received)
        agent.submit_result(None)

    site.run(work)
    result = exchanger.execute(task(headers={"current_round": 3, "num_rounds": 10}), weights)
    assert (seen[0].task_name, seen[0].task_id) == ("train", "t1")
    assert seen[0].data.get_meta_prop(MetaKey.CURRENT_ROUND) == 3
    assert seen[0].data.get_meta_prop(MetaKey.TOTAL_ROUNDS) == 10
    assert bodies[0].get_header(HeaderKey.JOB_ID) == "job-7"
    assert bodies[0].get_header(HeaderKey.SITE_NAME) == "site-1"
    assert bodies[0].get_header(HeaderKey.ATTEMPT) == 1
    assert result is not None
    assert result.headers["current_round"] == 3


def test_many_tasks_go_through_one_agent(site: Site):
    exchanger = site.open()
    site.serve(train)
    for number in range(20):
        result = exchanger.execute(task(number), weights)
        assert result is not None
        assert result.rc == ReturnCode.OK
    assert site.trainer.ensured == 20


def test_a_return_code_of_the_trainer_is_passed_on(site: Site):
    def work(agent: FlareAgent) -> None:
        agent.get_task()
        agent.submit_result(None, rc=ReturnCode.EMPTY_RESULT)

    exchanger = site.open()
    site.serve(work)
    result = exchanger.execute(task(), weights)
    assert result is not None
    assert result.rc == ReturnCode.EMPTY_RESULT


def test_data_that_is_of_no_use_is_answered_without_asking_a_trainer(site: Site):
    def fetch() -> Shareable:
        raise TaskDataError("the task's data is no frame")

    exchanger = site.open()
    assert error_of(exchanger.execute(task(), fetch)) == (
        ReturnCode.BAD_TASK_DATA,
        "the task's data is no frame",
    )
    assert site.trainer.ensured == 0


def test_a_task_name_that_no_message_can_carry_is_answered_with_the_allowed_form(site: Site):
    rc, text = error_of(site.open().execute(task(name="tr-ain"), weights))
    assert rc == ReturnCode.BAD_TASK_DATA
    assert "a-z A-Z 0-9 _, this is 'tr-ain'" in text


def test_what_answers_no_task_is_ignored_and_the_result_still_comes(site: Site):
    exchanger = site.open()
    pipe = site.bare_pipe()

    def work() -> None:
        request = next_task(pipe)
        body = Shareable()
        for stray in (
            Message.new_request("train", body),
            Message.new_reply("train", body, "another"),
            Message.new_reply("validate", body, request.msg_id),
            Message.new_reply("train", body, None),
        ):
            assert pipe.send(stray, 5)
        assert pipe.send(Message.new_reply("train", body, request.msg_id), 5)

    site.run(work)
    result = exchanger.execute(task(), weights)
    site.threads[0].join(60)
    assert result is not None
    assert result.rc == ReturnCode.OK


def test_a_result_that_is_no_shareable_is_refused_and_reported(site: Site):
    exchanger = site.open()
    pipe = site.bare_pipe()

    def work() -> None:
        request = next_task(pipe)
        assert pipe.send(Message.new_reply("train", [1, 2], request.msg_id), 5)

    site.run(work)
    rc, text = error_of(exchanger.execute(task(), weights))
    site.threads[0].join(60)
    assert rc == ReturnCode.RESULT_UNREADABLE
    assert "must be a Shareable" in text


@pytest.mark.parametrize("rc", ["", "E" * 201])
def test_a_return_code_that_the_server_would_not_take_is_refused_at_once(site: Site, rc: str):
    exchanger = site.open()
    pipe = site.bare_pipe()
    body = Shareable()
    body.set_return_code(rc)

    def work() -> None:
        assert pipe.send(Message.new_reply("train", body, next_task(pipe).msg_id), 5)

    site.run(work)
    code, text = error_of(exchanger.execute(task(), weights))
    site.threads[0].join(60)
    assert code == ReturnCode.RESULT_UNREADABLE
    assert "a str of 1 to 200 characters" in text


def test_a_task_that_outlived_its_client_job_is_answered_to_the_next_one(site: Site):
    """The server gives the task again; the trainer that has it does it once, as one attempt."""
    worked: list[str] = []
    go_on = threading.Event()

    def work(agent: FlareAgent) -> None:
        received = agent.get_task()
        assert received is not None
        worked.append(received.task_id)
        go_on.wait(60)
        agent.submit_result(None)

    opened = site.journal.open_task("t1", 1, "train")
    site.journal.next_attempt("t1")
    assert opened.msg_id == "t1-1"
    exchanger = site.open()
    assert exchanger.open_tasks() == {"t1"}
    site.serve(work)
    go_on.set()
    result = exchanger.execute(SiteTask("t1", 2, "train"), weights)  # the first lease ran out
    assert result is not None
    assert result.lease == 2
    assert worked == ["t1"]
    assert site.journal.was_accepted("t1-2")


def test_an_answer_that_came_before_the_server_gave_its_task_again_is_the_result(site: Site):
    site.journal.open_task("t1", 1, "train")
    exchanger = site.open()
    pipe = site.bare_pipe()
    answer = Message.new_reply("train", Shareable(), "t1-1")
    assert pipe.send(answer, 60)
    while not site.results:
        threading.Event().wait(0.01)
    assert exchanger.execute(SiteTask("t1", 2, "train"), weights) == site.results[0]
    assert exchanger.open_tasks() == set()
    assert site.trainer.ensured == 0


def test_a_copy_of_an_accepted_result_gets_the_same_answer_from_the_next_client_job(site: Site):
    site.journal.open_task("t1", 1, "train")
    site.journal.add_result(StoredResult("t1", 1, "OK", {}), "t1-1")
    site.open()
    pipe = site.bare_pipe()
    assert pipe.send(Message.new_reply("train", Shareable(), "t1-1"), 60)
    answer = next_message(pipe, "_ACCEPTED_")
    assert answer.data["accepted"] is True
    assert pipe.send(Message.new_reply("train", Shareable(), "t9-1"), 60)
    answer = next_message(pipe, "_ACCEPTED_")
    assert answer.data["accepted"] is False
    assert "nobody waits for the result of train t9-1 any more" in answer.data["error"]
