"""What becomes of a task whose trainer dies, leaves or is silent, or which is not wanted."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from federant.client import AgentAbortException, AgentEndException, FlareAgent, Task
from federant.exchange import HeaderKey, ReturnCode, Shareable
from federant.pipe import MemoryPipe, Message, Mode
from federant.site.errors import LaunchError, TrainerDownError
from federant.site.exchanger import SiteTask
from federant.site.journal import Journal
from federant.site.launcher import Exit

from .conftest import Site, error_of, next_task, task, train, weights


def wait_until_cancelled(received: Task) -> None:
    while not received.cancelled:
        threading.Event().wait(0.01)


def test_an_exception_in_the_trainer_comes_back_with_its_traceback(site: Site):
    def work(agent: FlareAgent) -> None:
        agent.get_task()
        agent.report_crash(ArithmeticError("loss is not a number"))

    exchanger = site.open()
    site.serve(work)
    rc, text = error_of(exchanger.execute(task(), weights))
    assert rc == ReturnCode.EXECUTION_EXCEPTION
    assert "ArithmeticError: loss is not a number" in text


def test_where_other_processes_crashed_too_the_end_of_all_is_waited_for(site: Site):
    exchanger = site.open()
    site.trainer.many_crashed = True

    def work(agent: FlareAgent) -> None:
        agent.get_task()
        agent.report_crash(ConnectionError("a peer is gone"))
        site.trainer.exit = Exit(status=1)
        exchanger.trainer_ended()

    site.serve(work)
    rc, text = error_of(exchanger.execute(task(), weights))
    assert rc == ReturnCode.TRAINER_DIED
    assert "ValueError: bad batch" in text


def test_a_trainer_that_dies_in_mid_task_is_reported_with_cause_and_last_words(site: Site):
    exchanger = site.open()

    def work(agent: FlareAgent) -> None:
        agent.get_task()
        site.trainer.exit = Exit(signal=9)
        exchanger.trainer_ended()

    site.serve(work)
    rc, text = error_of(exchanger.execute(task(), weights))
    assert rc == ReturnCode.TRAINER_DIED
    assert "with task train t1 (attempt 1) in hand: killed by signal 9 (SIGKILL)" in text
    assert "ValueError: bad batch" in text


def test_a_trainer_that_died_and_came_back_gets_its_task_again_as_the_next_attempt(site: Site):
    attempts: list[int] = []
    exchanger = site.open()
    site.trainer.replaceable = True

    class Counting(FlareAgent):
        def shareable_to_task_data(self, shareable: Shareable) -> Any:
            attempts.append(shareable.get_header(HeaderKey.ATTEMPT))
            return super().shareable_to_task_data(shareable)

    def live(number: int) -> None:
        agent = Counting(site.pipe(Mode.ACTIVE))
        with agent:
            agent.get_task()
            if number == 1:
                site.trainer.exit = Exit(status=1)
                exchanger.trainer_ended()
            else:
                agent.submit_result(None)

    def start() -> None:
        if site.threads:
            site.threads[-1].join(60)
        number = site.trainer.ensured
        site.run(lambda: live(number))

    site.trainer.start = start
    result = exchanger.execute(task(), weights)
    assert result is not None
    assert result.rc == ReturnCode.OK
    assert attempts == [1, 2]


def test_an_exception_in_a_trainer_that_is_replaced_is_another_attempt_and_no_result(site: Site):
    exchanger = site.open()
    site.trainer.replaceable = True

    def live(number: int, agent: FlareAgent) -> None:
        agent.get_task()
        if number > 1:
            agent.submit_result(None)
            return
        agent.report_crash(ArithmeticError("loss is not a number"))
        agent.stop()
        site.trainer.exit = Exit(status=1)
        exchanger.trainer_ended()

    def start() -> None:
        for thread in site.threads:
            thread.join(60)
        number = site.trainer.ensured
        site.serve(lambda agent: live(number, agent))

    site.trainer.start = start
    result = exchanger.execute(task(), weights)
    assert result is not None
    assert result.rc == ReturnCode.OK
    assert site.trainer.ensured == 2
    assert site.results == [result]


def test_a_trainer_that_left_in_peace_with_a_task_is_replaced_once(site: Site):
    """It took one task and was on its way out when the next one reached it."""
    exchanger = site.open()

    def leave(agent: FlareAgent) -> None:
        agent.get_task()
        agent.stop()
        site.trainer.exit = Exit(status=0)
        exchanger.trainer_ended()

    def start() -> None:
        for thread in site.threads:
            thread.join(60)
        site.serve(leave)

    site.trainer.start = start
    rc, text = error_of(exchanger.execute(task(), weights))
    assert rc == ReturnCode.TRAINER_DIED
    assert "exit status 0" in text
    assert site.trainer.ensured == 2


def test_no_trainer_to_start_is_reported_with_the_reason(site: Site):
    exchanger = site.open()
    site.trainer.error = LaunchError("there is no program 'pyton'")
    assert error_of(exchanger.execute(task(), weights)) == (
        ReturnCode.TRAINER_ABSENT,
        "there is no program 'pyton'",
    )


def test_a_trainer_that_is_not_to_be_restarted_is_reported_for_each_task(site: Site):
    exchanger = site.open()
    site.trainer.error = TrainerDownError("the trainer died earlier (exit status 1)")
    rc, text = error_of(exchanger.execute(task(), weights))
    assert rc == ReturnCode.TRAINER_DIED
    assert text.startswith("the trainer died earlier (exit status 1)\nthe last lines")


def test_a_task_that_nobody_reads_in_time_is_reported_as_such(site: Site):
    exchanger = site.open(peer_read_timeout=0.05)
    rc, text = error_of(exchanger.execute(task(), weights))
    assert rc == ReturnCode.TRAINER_ABSENT
    assert "no trainer read task train t1 (attempt 1) within 0.05 s" in text


def test_at_the_deadline_the_trainer_is_told_and_goes_on_with_thenext_task(site: Site):
    exchanger = site.open()
    refused: list[bool] = []

    def work(agent: FlareAgent) -> None:
        first = agent.get_task()
        assert first is not None
        wait_until_cancelled(first)
        refused.append(agent.submit_result(None))
        train(agent)

    site.serve(work)
    late = SiteTask("t1", 1, "train", deadline=time.monotonic() + 2.0)
    rc, text = error_of(exchanger.execute(late, weights))
    assert rc == ReturnCode.TASK_TIMEOUT
    assert "no result of task train t1 (attempt 1) within its time" in text
    result = exchanger.execute(task(2), weights)
    assert result is not None
    assert result.rc == ReturnCode.OK
    assert refused == [False]


def test_a_cancelled_task_has_no_result_and_the_trainer_goes_on(site: Site):
    exchanger = site.open()
    accepted: list[bool] = []

    def work(agent: FlareAgent) -> None:
        agent.get_task()
        exchanger.cancel("t1", "the round is over")
        accepted.append(agent.submit_result(None))
        train(agent)

    site.serve(work)
    assert exchanger.execute(task(), weights) is None
    assert exchanger.execute(task(2), weights) is not None
    assert accepted == [False]
    assert [result.task_id for result in site.results] == ["t2"]
    assert site.journal.open_tasks() == []


def test_a_task_is_cancelled_also_while_no_trainer_has_read_it(site: Site):
    exchanger = site.open(peer_read_timeout=None)
    site.trainer.start = lambda: site.run(lambda: exchanger.cancel("t1", "enough")) and None
    assert exchanger.execute(task(), weights) is None


def test_the_end_of_the_job_ends_the_trainers_loop_cleanly(site: Site):
    exchanger = site.open()
    ended: list[str] = []

    def work(agent: FlareAgent) -> None:
        agent.get_task()
        agent.submit_result(None)
        with pytest.raises(AgentEndException):
            agent.get_task()
        ended.append("end")

    site.serve(work)
    assert exchanger.execute(task(2), weights) is not None
    exchanger.stop()
    site.threads[0].join(60)
    assert ended == ["end"]
    assert exchanger.execute(task(), weights) is None


def test_an_abort_reaches_the_trainer_and_leaves_the_task_open_in_the_journal(site: Site):
    exchanger = site.open()
    ended: list[str] = []

    def work(agent: FlareAgent) -> None:
        received = agent.get_task()
        assert received is not None
        exchanger.stop(aborted="the site goes down")
        wait_until_cancelled(received)
        with pytest.raises(AgentAbortException, match="the site goes down"):
            agent.get_task()
        ended.append("abort")

    site.serve(work)
    assert exchanger.execute(task(), weights) is None
    site.threads[0].join(60)
    assert ended == ["abort"]
    assert [opened.task_id for opened in site.journal.open_tasks()] == ["t1"]


def test_a_trainer_for_one_task_is_told_to_end_once_its_result_is_accepted(site: Site):
    exchanger = site.open()
    site.trainer.one_task = True
    site.serve(train)
    assert exchanger.execute(task(), weights) is not None
    site.threads[0].join(60)
    assert not site.threads[0].is_alive()
    assert site.trainer.retired == 1


class DeafPipe(MemoryPipe):
    """Its peer reads nothing, and says so at once."""

    sends = 0

    def send(self, msg: Message, timeout: float | None = None) -> bool:  # noqa: ARG002 - the signature of a pipe
        self.sends += msg.topic == "train"
        msg.dropped = "out of descriptors"
        return False


def test_a_task_that_cannot_be_read_is_not_sent_again_without_a_pause(tmp_path: Path):
    pipe = DeafPipe(uuid.uuid4().hex, Mode.PASSIVE)
    site = Site(Journal(tmp_path / "journal.db"), lambda _: pipe)
    rc, text = error_of(site.open(peer_read_timeout=0.3).execute(task(), weights))
    site.close()
    assert rc == ReturnCode.TRAINER_ABSENT
    assert text.startswith("no trainer read task train t1 (attempt 1) within 0.3 s")
    assert "could not read it: out of descriptors" in text
    assert pipe.sends < 10


def test_a_silent_trainer_is_ended_at_the_limit_and_reported(site: Site):
    exchanger = site.open(stalled_after=0.05, stall_limit=0.1, heartbeat_interval=60.0)
    site.trainer.replaceable = False
    pipe = site.bare_pipe()
    site.run(lambda: next_task(pipe))
    rc, text = error_of(exchanger.execute(task(), weights))
    assert rc == ReturnCode.TRAINER_DIED
    assert "gave no sign of life" in text
    assert site.trainer.killed == 1
    assert "stalled" in site.statuses
