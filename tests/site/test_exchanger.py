"""The client job's end of the task pipe, against real agents over both kinds of pipe."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant import codec
from federant.client import AgentAbortException, AgentEndException, FlareAgent, Task, notices
from federant.exchange import DXO, DataKind, HeaderKey, MetaKey, ReturnCode, Shareable
from federant.pipe import LocalPipe, MemoryPipe, Message, Mode, Pipe, Topic
from federant.site import exchanger as exchanger_module
from federant.site.attempt import ExchangeLimits
from federant.site.errors import LaunchError, TaskDataError, TrainerDownError
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
        for agent in self.agents:
            agent.stop()
        for exchanger in self.exchangers:
            exchanger.close()
        for thread in self.threads:
            thread.join(10)
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


def wait_until_cancelled(received: Task) -> None:
    while not received.cancelled:
        threading.Event().wait(0.01)


def task(number: int = 1, **values: Any) -> SiteTask:
    return SiteTask(f"t{number}", 1, values.pop("name", "train"), **values)


def error_of(result: StoredResult | None) -> tuple[str, str]:
    assert result is not None
    return result.rc, result.headers[HeaderKey.ERROR]


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
    site.threads[0].join(10)
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


def test_a_result_is_held_for_the_server_before_the_next_task_can_be_asked_for(site: Site):
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
    ended.join(10)
    assert site.statuses == ["unasked"]
    (text,) = site.told
    assert "task train t1 reached the trainer" in text
    assert "call agent.get_task() or flare.receive()" in text
    rc, error = error_of(site.results[0])
    assert rc == ReturnCode.TASK_TIMEOUT
    assert text in error


def test_of_what_a_trainer_notes_the_first_of_the_task_in_hand_is_shown(site: Site):
    exchanger = site.open()
    pipe = site.pipe(Mode.ACTIVE)
    pipe.open("task")
    running = site.run(lambda: exchanger.execute(task(), weights))
    given = _next_task(pipe)
    for number in range(3):
        for task_id in ("another", "t1"):
            note = {"task_id": task_id, "text": f"{task_id} {number}"}
            assert pipe.send(Message.new_request(Topic.NOTICE, note), 10)
    assert pipe.send(Message.new_reply("train", Shareable(), given.msg_id), 10)
    running.join(10)
    assert site.told == ["t1 0"]
    pipe.close()


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
            site.threads[-1].join(10)
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
            thread.join(10)
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
            thread.join(10)
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


def test_at_the_deadline_the_trainer_is_told_and_goes_on_with_the_next_task(site: Site):
    exchanger = site.open()
    refused: list[bool] = []

    def work(agent: FlareAgent) -> None:
        first = agent.get_task()
        assert first is not None
        wait_until_cancelled(first)
        refused.append(agent.submit_result(None))
        train(agent)

    site.serve(work)
    late = SiteTask("t1", 1, "train", deadline=time.monotonic() + 0.2)
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
    site.threads[0].join(10)
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
    site.threads[0].join(10)
    assert ended == ["abort"]
    assert [opened.task_id for opened in site.journal.open_tasks()] == ["t1"]


def test_a_trainer_for_one_task_is_told_to_end_once_its_result_is_accepted(site: Site):
    exchanger = site.open()
    site.trainer.one_task = True
    site.serve(train)
    assert exchanger.execute(task(), weights) is not None
    site.threads[0].join(10)
    assert not site.threads[0].is_alive()
    assert site.trainer.retired == 1


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
    pipe = site.pipe(Mode.ACTIVE)
    pipe.open("task")

    def work() -> None:
        request = _next_task(pipe)
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
    site.threads[0].join(10)
    pipe.close()
    assert result is not None
    assert result.rc == ReturnCode.OK


def test_a_result_that_is_no_shareable_is_refused_and_reported(site: Site):
    exchanger = site.open()
    pipe = site.pipe(Mode.ACTIVE)
    pipe.open("task")

    def work() -> None:
        request = _next_task(pipe)
        assert pipe.send(Message.new_reply("train", [1, 2], request.msg_id), 5)

    site.run(work)
    rc, text = error_of(exchanger.execute(task(), weights))
    site.threads[0].join(10)
    pipe.close()
    assert rc == ReturnCode.RESULT_UNREADABLE
    assert "must be a Shareable" in text


@pytest.mark.parametrize("rc", ["", "E" * 201])
def test_a_return_code_that_the_server_would_not_take_is_refused_at_once(site: Site, rc: str):
    exchanger = site.open()
    pipe = site.pipe(Mode.ACTIVE)
    pipe.open("task")
    body = Shareable()
    body.set_return_code(rc)

    def work() -> None:
        assert pipe.send(Message.new_reply("train", body, _next_task(pipe).msg_id), 5)

    site.run(work)
    code, text = error_of(exchanger.execute(task(), weights))
    site.threads[0].join(10)
    pipe.close()
    assert code == ReturnCode.RESULT_UNREADABLE
    assert "a str of 1 to 200 characters" in text


class DeafPipe(MemoryPipe):
    """Its peer reads nothing, and says so at once."""

    sends = 0

    def send(self, msg: Message, timeout: float | None = None) -> bool:  # noqa: ARG002
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


def _next_task(pipe: Pipe) -> Message:
    return _next_message(pipe, "train")


def _next_message(pipe: Pipe, topic: str) -> Message:
    while True:
        message = pipe.receive(10)
        assert message is not None
        if message.topic == topic:
            return message


def test_a_task_that_outlived_its_client_job_is_answered_to_the_next_one(site: Site):
    """The server gives the task again; the trainer that has it does it once, as one attempt."""
    worked: list[str] = []
    go_on = threading.Event()

    def work(agent: FlareAgent) -> None:
        received = agent.get_task()
        assert received is not None
        worked.append(received.task_id)
        go_on.wait(10)
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
    pipe = site.pipe(Mode.ACTIVE)
    pipe.open("task")
    answer = Message.new_reply("train", Shareable(), "t1-1")
    assert pipe.send(answer, 10)
    while not site.results:
        threading.Event().wait(0.01)
    assert exchanger.execute(SiteTask("t1", 2, "train"), weights) == site.results[0]
    assert exchanger.open_tasks() == set()
    assert site.trainer.ensured == 0
    pipe.close()


def test_a_copy_of_an_accepted_result_gets_the_same_answer_from_the_next_client_job(site: Site):
    site.journal.open_task("t1", 1, "train")
    site.journal.add_result(StoredResult("t1", 1, "OK", {}), "t1-1")
    site.open()
    pipe = site.pipe(Mode.ACTIVE)
    pipe.open("task")
    assert pipe.send(Message.new_reply("train", Shareable(), "t1-1"), 10)
    answer = _next_message(pipe, "_ACCEPTED_")
    assert answer.data["accepted"] is True
    assert pipe.send(Message.new_reply("train", Shareable(), "t9-1"), 10)
    answer = _next_message(pipe, "_ACCEPTED_")
    assert answer.data["accepted"] is False
    assert "nobody waits for the result of train t9-1 any more" in answer.data["error"]
    pipe.close()


def test_a_silent_trainer_is_ended_at_the_limit_and_reported(site: Site):
    exchanger = site.open(stalled_after=0.05, stall_limit=0.1, heartbeat_interval=60.0)
    site.trainer.replaceable = False
    pipe = site.pipe(Mode.ACTIVE)
    pipe.open("task")
    site.run(lambda: _next_task(pipe))
    rc, text = error_of(exchanger.execute(task(), weights))
    pipe.close()
    assert rc == ReturnCode.TRAINER_DIED
    assert "gave no sign of life" in text
    assert site.trainer.killed == 1
    assert "stalled" in site.statuses
