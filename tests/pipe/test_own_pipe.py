"""Pipes and exchangers that others wrote: only the abstract methods, only the plain calls."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from federant import DXO, DataKind
from federant.client.flare_agent import (
    AgentAbortException,
    AgentEndException,
    AgentPeerGoneException,
    FlareAgent,
)
from federant.exchange import HeaderKey, Shareable
from federant.pipe import Message, Mode, Outcome, Pipe, PipeHandler, Topic

LONG = 60.0
READ = 0.01


class Mailbox(Pipe):
    """A pipe with nothing but what it must have: two queues, and receipts for what is waited for.

    It looks when it is asked, wakes nobody, says no goodbye, and does not wait in receive.
    """

    def __init__(self, mode: Mode, boxes: dict[str, "queue.Queue[Message]"]) -> None:
        super().__init__(mode)
        self._boxes = boxes
        self._open = False
        self.looks = 0
        self.released: list[str] = []
        self.broken = False

    def open(self, name: str) -> None:  # noqa: ARG002 - it has one channel
        self._open = True

    def close(self) -> None:
        self._open = False

    def clear(self) -> None:
        while self.receive() is not None:
            pass

    def send(self, msg: Message, timeout: float | None = None) -> bool:
        self._check()
        read = RECEIPTS.setdefault(msg.msg_id, threading.Event())
        self._boxes[self.mode.opposite].put(msg)
        return timeout == 0 or read.wait(timeout)

    def receive(self, timeout: float | None = None) -> Message | None:  # noqa: ARG002 - a pipe may ignore it
        self._check()
        self.looks += 1
        try:
            msg = self._boxes[self.mode].get_nowait()
        except queue.Empty:
            return None
        RECEIPTS.setdefault(msg.msg_id, threading.Event()).set()
        return msg

    def can_resend(self) -> bool:
        return False

    def release_send_cache(self, msg: Message) -> None:
        self.released.append(msg.topic)

    def _check(self) -> None:
        if not self._open or self.broken:
            raise BrokenPipeError("the mailbox is not open")


RECEIPTS: dict[object, threading.Event] = {}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def ends() -> Iterator[tuple[Mailbox, Mailbox]]:
    """The open ACTIVE and the open PASSIVE end."""
    RECEIPTS.clear()
    boxes: dict[str, queue.Queue[Message]] = {mode: queue.Queue() for mode in Mode}
    pipes = Mailbox(Mode.ACTIVE, boxes), Mailbox(Mode.PASSIVE, boxes)
    for pipe in pipes:
        pipe.open("task")
    yield pipes
    for pipe in pipes:
        pipe.close()


MakeHandler = Callable[..., PipeHandler]


@pytest.fixture
def make_handler() -> Iterator[MakeHandler]:
    made: list[PipeHandler] = []

    def make(pipe: Pipe, **arguments: float) -> PipeHandler:
        handler = PipeHandler(pipe, **{"read_interval": READ, **arguments})  # type: ignore[arg-type]
        made.append(handler)
        return handler

    yield make
    for handler in made:
        handler.stop()


@pytest.fixture
def agent(ends: tuple[Mailbox, Mailbox]) -> Iterator[FlareAgent]:
    with FlareAgent(ends[0], read_interval=READ, close_pipe=False) as made:
        yield made


def until_next(handler: PipeHandler) -> Message:
    """As an exchanger does it that knows no more than get_next."""
    waiting = threading.Event()
    for _ in range(2000):
        msg = handler.get_next()
        if msg is not None:
            return msg
        waiting.wait(READ)
    raise AssertionError("no message came")


def a_task(number: int = 0) -> Message:
    body = DXO(DataKind.WEIGHTS, {"w": np.full(3, number, np.float32)}).to_shareable()
    body.set_header(HeaderKey.TASK_NAME, "train")
    body.set_header(HeaderKey.TASK_ID, f"task-{number}")
    return Message.new_request("train", body, f"task-{number}")


# -- an exchanger of one's own, over a pipe of one's own ------------------------------------------


def test_an_exchanger_that_only_sends_and_gets_next_serves_an_agent(
    ends: tuple[Mailbox, Mailbox],
    agent: FlareAgent,
    make_handler: MakeHandler,
    pool: ThreadPoolExecutor,
) -> None:
    exchanger = make_handler(ends[1])
    exchanger.start()

    def exchange() -> list[Shareable]:
        results = []
        for number in range(3):
            task = a_task(number)
            assert exchanger.send_to_peer(task, timeout=LONG)
            reply = until_next(exchanger)
            assert (reply.msg_type, reply.topic) == (Message.REPLY, "train")
            assert reply.req_id == task.msg_id
            results.append(reply.data)
        assert exchanger.notify_end("end_of_job", timeout=LONG)
        return results

    exchanged = pool.submit(exchange)
    for task in agent.tasks():
        assert agent.submit_result(DXO(DataKind.WEIGHTS, {"w": task.data.data["w"] + 1})) is True
    results = exchanged.result(LONG)
    assert [float(result["DXO"]["data"]["w"][0]) for result in results] == [1.0, 2.0, 3.0]
    assert {result.get_return_code() for result in results} == {"OK"}


def test_notify_abort_ends_the_agent(
    ends: tuple[Mailbox, Mailbox], agent: FlareAgent, make_handler: MakeHandler
) -> None:
    exchanger = make_handler(ends[1])
    exchanger.start()
    assert exchanger.notify_abort("task-1", timeout=LONG)
    with pytest.raises(AgentAbortException, match="task-1"):
        agent.get_task(LONG)


def test_end_without_a_timeout_is_read_by_a_peer_that_polls(
    ends: tuple[Mailbox, Mailbox], agent: FlareAgent, make_handler: MakeHandler
) -> None:
    exchanger = make_handler(ends[1])
    exchanger.start()
    assert exchanger.notify_end("done")
    with pytest.raises(AgentEndException):
        agent.get_task(LONG)


def test_a_broken_pipe_of_ones_own_is_a_peer_that_is_gone(
    ends: tuple[Mailbox, Mailbox], agent: FlareAgent
) -> None:
    ends[0].broken = True
    with pytest.raises(AgentPeerGoneException, match="the mailbox is not open"):
        agent.get_task(LONG)


# -- the handler round such a pipe ----------------------------------------------------------------


def test_a_pipe_that_does_not_wait_in_receive_is_looked_at_once_an_interval(
    ends: tuple[Mailbox, Mailbox], make_handler: MakeHandler
) -> None:
    trainer = make_handler(ends[0], read_interval=3600, heartbeat_timeout=0)
    job = make_handler(ends[1])
    trainer.start()
    job.start()
    assert job.peer_is_up_or_dead.wait(LONG)  # its first heartbeat: by now the reader runs too
    trainer.stop(close_pipe=False)
    assert ends[0].looks <= 2


def test_get_next_accepts_and_wait_next_leaves_the_answer_to_its_caller(
    ends: tuple[Mailbox, Mailbox], make_handler: MakeHandler, pool: ThreadPoolExecutor
) -> None:
    trainer, job = make_handler(ends[0]), make_handler(ends[1])
    trainer.start()
    job.start()
    delivered = pool.submit(trainer.deliver, a_task(), LONG)
    assert until_next(job).msg_id == "task-0"
    assert delivered.result(LONG).outcome is Outcome.ACCEPTED
    delivered = pool.submit(trainer.deliver, a_task(1), LONG)
    msg = job.wait_next(LONG)
    assert msg is not None
    assert not delivered.done()
    job.refuse(msg, "ERROR", "not this one")
    assert delivered.result(LONG).outcome is Outcome.REFUSED


def test_callbacks_get_their_arguments_and_leave_nothing_in_the_queue(
    ends: tuple[Mailbox, Mailbox], make_handler: MakeHandler
) -> None:
    trainer, job = make_handler(ends[0]), make_handler(ends[1])
    heard: queue.Queue[tuple[str, str, str]] = queue.Queue()
    job.set_message_cb(lambda msg, a, *, b: heard.put((msg.topic, a, b)), "a", b="b")
    job.set_status_cb(lambda msg, c, *, d: heard.put((msg.topic, c, d)), "c", d="d")
    trainer.start()
    job.start()
    assert trainer.send_to_peer(Message.new_request("note", 1), timeout=LONG)
    assert heard.get(timeout=LONG) == ("note", "a", "b")
    assert trainer.notify_end("done", timeout=LONG)
    assert heard.get(timeout=LONG) == (Topic.END, "c", "d")
    assert job.get_next() is None
    for setter in (job.set_status_cb, job.set_message_cb):
        with pytest.raises(ValueError, match="must be callable"):
            setter("no function")  # type: ignore[arg-type]


def test_a_paused_handler_looks_at_nothing_until_it_resumes(
    ends: tuple[Mailbox, Mailbox], make_handler: MakeHandler
) -> None:
    trainer, job = make_handler(ends[0]), make_handler(ends[1])
    trainer.start()
    job.pause()
    job.start()
    assert trainer.send_to_peer(Message.new_request("note", 1), timeout=0.2) is False
    assert job.get_next() is None
    assert ends[1].looks == 0
    job.resume()
    assert until_next(job).data == 1


class Signal:
    triggered = False


def test_an_abort_signal_ends_a_send_before_its_next_try(
    ends: tuple[Mailbox, Mailbox], make_handler: MakeHandler
) -> None:
    trainer = make_handler(ends[0])
    signal = Signal()
    signal.triggered = True
    assert trainer.send_to_peer(Message.new_request("note", 1), LONG, signal) is False
    assert ends[1].receive() is None
    for timeout in (0, -1):
        with pytest.raises(ValueError, match="timeout must be above 0"):
            trainer.send_to_peer(Message.new_request("note", 1), timeout=timeout)


def test_what_a_pipe_keeps_of_a_message_is_released_once_its_sending_is_over(
    ends: tuple[Mailbox, Mailbox], make_handler: MakeHandler
) -> None:
    trainer, job = make_handler(ends[0], heartbeat_interval=3600, heartbeat_timeout=0), ends[1]
    assert trainer.send_to_peer(Message.new_request("note", 1), timeout=0.01) is False
    assert ends[0].released == ["note"]
    assert job.receive() is not None


def test_export_names_the_class_and_both_modes(ends: tuple[Mailbox, Mailbox]) -> None:
    name = f"{__name__}.Mailbox"
    assert ends[0].export("SELF") == (name, {"mode": "ACTIVE"})
    assert ends[0].export("PEER") == (name, {"mode": "PASSIVE"})


def test_a_pipe_that_lacks_an_abstract_method_cannot_be_made() -> None:
    class Half(Pipe):
        def open(self, name: str) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Half(Mode.ACTIVE)  # type: ignore[abstract]
