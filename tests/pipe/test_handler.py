import logging
import queue
import threading

import pytest

from federant.pipe import Delivery, MemoryPipe, Message, Mode, Outcome, Pipe, PipeHandler, Topic
from federant.testing import FaultPipe
from federant.testing.two_ends import LONG, SHORT, in_thread, next_of, request


@pytest.fixture
def pipes(request):
    token = request.node.name
    agent, job = MemoryPipe(token, Mode.ACTIVE), MemoryPipe(token, Mode.PASSIVE)
    for pipe in (agent, job):
        pipe.open("task")
    yield agent, job
    for pipe in (agent, job):
        pipe.close()


@pytest.fixture
def make_handler():
    made = []

    def make(pipe, **arguments):
        handler = PipeHandler(pipe, **{"resend_interval": SHORT, **arguments})
        made.append(handler)
        return handler

    yield make
    for handler in made:
        handler.stop()


@pytest.fixture
def trainer(pipes, make_handler):
    handler = make_handler(pipes[0])
    handler.start()
    return handler


@pytest.fixture
def job(pipes, make_handler):
    """The passive end's handler, not yet started."""
    return make_handler(pipes[1])


class Heard:
    """A callback that keeps the messages it is called with, and the rest of the latest call."""

    def __init__(self):
        self.arguments = ()
        self._messages = queue.Queue()

    def __call__(self, msg, *args, **kwargs):
        self.arguments = (args, kwargs)
        self._messages.put(msg)

    def next(self):
        return self._messages.get(timeout=LONG)

    def is_empty(self):
        return self._messages.empty()


class PollingPipe(Pipe):
    """A pipe that cannot wake its reader, as those that others write may be."""

    def __init__(self, pipe):
        super().__init__(pipe.mode)
        self.pipe = pipe

    def open(self, name):
        self.pipe.open(name)

    def clear(self):
        self.pipe.clear()

    def send(self, msg, timeout=None):
        return self.pipe.send(msg, timeout)

    def receive(self, timeout=None):
        return self.pipe.receive(timeout)

    def close(self):
        self.pipe.close()

    def can_resend(self):
        return False


# -- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("read_interval", 0, "above 0"),
        ("read_interval", -1, "above 0"),
        ("heartbeat_interval", 0, "above 0"),
        ("heartbeat_interval", float("nan"), "above 0"),
        ("heartbeat_timeout", -1, "at least 0"),
        ("heartbeat_timeout", float("inf"), "at least 0"),
        ("heartbeat_timeout", 5.0, "more than heartbeat_interval"),
        ("resend_interval", -1, "at least 0"),
        ("max_resends", -1, "at least 0"),
        ("default_request_timeout", 0, "above 0"),
    ],
)
def test_bad_number_is_a_value_error_with_name_value_and_range(pipes, name, value, allowed):
    with pytest.raises(ValueError, match=f"{name} must be .*{allowed}.*got {value}"):
        PipeHandler(pipes[0], **{name: value})


@pytest.mark.parametrize("name", ["read_interval", "heartbeat_interval", "heartbeat_timeout"])
@pytest.mark.parametrize("value", [None, "1", True])
def test_what_is_no_number_is_a_type_error(pipes, name, value):
    with pytest.raises(TypeError, match=f"{name} must be a number, got {type(value).__name__}"):
        PipeHandler(pipes[0], **{name: value})


@pytest.mark.parametrize(
    "setter", ["set_status_cb", "set_message_cb", "set_duplicate_cb", "set_cancel_cb"]
)
def test_callback_that_is_not_callable_is_a_value_error(trainer, setter):
    with pytest.raises(ValueError, match="callback must be callable, got str"):
        getattr(trainer, setter)("not callable")


@pytest.mark.parametrize("timeout", [0, -1])
def test_send_timeout_must_be_above_zero(trainer, timeout):
    with pytest.raises(ValueError, match=f"timeout must be above 0 and finite, got {timeout}"):
        trainer.send_to_peer(request(), timeout=timeout)


# -- receiving ----------------------------------------------------------------------------------


def test_get_next_never_blocks(trainer, job):
    job.start()
    assert job.get_next() is None
    assert trainer.send_to_peer(request(1), timeout=LONG)
    assert next_of(job).data == {"number": 1}
    assert job.get_next() is None


def test_message_callback_gets_the_message_and_its_own_arguments_and_nothing_is_queued(
    trainer, job
):
    heard = Heard()
    job.set_message_cb(heard, "extra", key="word")
    job.start()
    assert trainer.send_to_peer(request(1), timeout=LONG)
    assert heard.next().data == {"number": 1}
    assert heard.arguments == (("extra",), {"key": "word"})
    assert job.get_next() is None


def test_callback_that_raises_is_logged_and_the_handler_goes_on(trainer, job, caplog):
    heard = Heard()

    def fail_first(msg):
        heard(msg)
        if msg.data["number"] == 1:
            raise RuntimeError("the user's fault")

    job.set_message_cb(fail_first)
    job.start()
    with caplog.at_level(logging.ERROR):
        assert trainer.send_to_peer(request(1), timeout=LONG)
        assert trainer.send_to_peer(request(2), timeout=LONG)
        assert [heard.next().data["number"] for _ in range(2)] == [1, 2]
    assert "the user's fault" in caplog.text
    assert job.status is None


def test_heartbeats_are_signs_of_life_and_never_come_out(trainer, job):
    job.start()
    assert job.peer_is_up_or_dead.wait(LONG)
    assert job.get_next() is None


def test_pipe_that_cannot_wake_is_polled(pipes, make_handler):
    trainer = make_handler(pipes[0])
    job = make_handler(PollingPipe(pipes[1]), read_interval=0.01)
    trainer.start()
    job.start()
    assert trainer.send_to_peer(request(1), timeout=LONG)
    assert next_of(job).data == {"number": 1}


def test_paused_handler_reads_nothing_until_it_resumes(trainer, job):
    job.start()
    assert trainer.send_to_peer(request(1), timeout=LONG)
    job.pause()
    trainer.send_to_peer(request(2), timeout=SHORT)  # read by nobody, but for a race with pause
    job.resume()
    assert trainer.send_to_peer(request(3), timeout=LONG)
    numbers = []
    while not numbers or numbers[-1] != 3:
        numbers.append(next_of(job).data["number"])
    assert numbers == sorted(set(numbers))


def test_paused_handler_still_sends(trainer, job):
    job.start()
    trainer.pause()
    assert trainer.send_to_peer(request(1), timeout=LONG)
    assert next_of(job).data == {"number": 1}


# -- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", [Topic.END, Topic.ABORT])
def test_status_is_queued_after_the_messages_before_it_and_nothing_is_read_after(
    trainer, job, topic
):
    job.start()
    assert trainer.send_to_peer(request(1), timeout=LONG)
    notify = trainer.notify_end if topic == Topic.END else trainer.notify_abort
    assert notify("why")
    assert next_of(job).data == {"number": 1}
    status = next_of(job)
    assert (status.topic, status.data) == (topic, "why")
    assert job.status is status
    assert trainer.send_to_peer(request(2), timeout=SHORT) is False
    assert job.wait_next() is None  # without a limit, but nothing can come


def test_status_callback_gets_the_status_which_is_not_queued(trainer, job):
    heard = Heard()
    job.set_status_cb(heard)
    job.start()
    waiting = in_thread(job.wait_next)
    assert trainer.notify_abort("stop")
    assert heard.next().data == "stop"
    assert waiting.result(LONG) is None
    assert job.status.topic == Topic.ABORT


def test_silent_peer_counts_as_gone_after_the_timeout(pipes, make_handler):
    handler = make_handler(pipes[1], heartbeat_interval=0.02, heartbeat_timeout=SHORT)
    handler.start()
    gone = next_of(handler)
    assert gone.topic == Topic.PEER_GONE
    assert gone.data == {"clean": False, "text": "no sign of life for 0.05 s"}
    assert handler.peer_is_up_or_dead.is_set()


def test_message_at_hand_beats_the_news_that_its_sender_is_silent(pipes, make_handler):
    """As after minutes in which no thread of this process could run."""

    class Held(PollingPipe):
        def receive(self, timeout=None):
            return super().receive(0) if timeout == 0 else None

    handler = make_handler(Held(pipes[1]), heartbeat_interval=0.02, heartbeat_timeout=SHORT)
    assert pipes[0].send(request(1), timeout=0)
    handler.start()
    assert next_of(handler).data == {"number": 1}
    assert next_of(handler).topic == Topic.PEER_GONE


def test_peer_that_only_beats_is_not_gone(pipes, make_handler):
    beats, listens = (
        make_handler(pipe, heartbeat_interval=0.02, heartbeat_timeout=10.0) for pipe in pipes
    )
    beats.start()
    listens.start()
    assert listens.wait_next(4 * SHORT) is None
    assert listens.status is None


def test_peer_cannot_say_that_it_is_gone(trainer, job):
    job.start()
    assert trainer.send_to_peer(Message.new_request(Topic.PEER_GONE, "believe me"), timeout=LONG)
    assert trainer.send_to_peer(request(1), timeout=LONG)
    assert next_of(job).data == {"number": 1}
    assert job.status is None


def test_goodbye_of_the_peer_ends_what_waits(trainer, job):
    job.start()
    waiting = in_thread(job.wait_next)
    delivering = in_thread(job.deliver, request(1), LONG)
    assert next_of(trainer).data == {"number": 1}
    trainer.stop()
    assert waiting.result(LONG).topic == Topic.PEER_GONE
    delivery = delivering.result(LONG)
    assert delivery.outcome is Outcome.STOPPED
    assert delivery.text.startswith("the peer is gone")
    assert job.send_to_peer(request(2)) is False


def test_broken_pipe_is_reported_as_peer_gone_once(trainer, job, pipes):
    heard = Heard()
    job.set_status_cb(heard)
    job.start()
    pipes[1].close()
    assert heard.next().data["clean"] is False
    assert job.send_to_peer(request()) is False
    assert job.notify_end("end") is False
    assert heard.is_empty()


def test_pipe_that_fails_in_another_way_is_reported_with_the_error(make_handler, pipes, caplog):
    class Broken(PollingPipe):
        def receive(self, timeout=None):
            raise RuntimeError(f"disk on fire when asked for {timeout} s")

    handler = make_handler(Broken(pipes[0]))
    with caplog.at_level(logging.ERROR):
        handler.start()
        assert "disk on fire" in next_of(handler).data["text"]
    assert "disk on fire" in caplog.text


def test_stop_wakes_every_waiting_call_at_once(trainer, job, pipes):
    waiting = in_thread(trainer.wait_next)
    sending = in_thread(trainer.send_to_peer, request(), LONG)
    delivering = in_thread(trainer.deliver, request(), LONG)
    trainer.stop(close_pipe=False)
    assert waiting.result(LONG / 2) is None
    assert sending.result(LONG / 2) is False
    assert delivering.result(LONG / 2) == Delivery(Outcome.STOPPED, "the handler was stopped")


def test_stop_twice_and_start_after_stop_do_nothing(trainer):
    trainer.start()
    trainer.stop()
    trainer.stop()
    trainer.start()
    assert trainer.get_next() is None
    assert trainer.send_to_peer(request()) is False


def test_stop_in_a_callback_does_not_wait_for_itself(trainer, job):
    stopped = threading.Event()

    def stop(_msg):
        job.stop()
        stopped.set()

    job.set_message_cb(stop)
    job.start()
    trainer.send_to_peer(request(), timeout=LONG)
    assert stopped.wait(LONG)


def test_stop_closes_the_pipe_only_if_told(trainer, job, pipes):
    job.start()
    trainer.stop(close_pipe=False)
    assert pipes[0].send(request(1), LONG)
    assert next_of(job).data == {"number": 1}
    job.stop()
    with pytest.raises(BrokenPipeError):
        pipes[1].receive()


# -- sending ------------------------------------------------------------------------------------


class Signal:
    triggered = False


def test_send_without_a_timeout_is_one_try(pipes, make_handler):
    faulty = FaultPipe(pipes[0])
    faulty.drop(lambda msg: msg.topic == "train")
    trainer, job = make_handler(faulty), make_handler(pipes[1])
    for handler in (trainer, job):
        handler.start()
    assert trainer.send_to_peer(request(1)) is False
    assert trainer.send_to_peer(request(2)) is True
    assert next_of(job).data == {"number": 2}


@pytest.mark.parametrize(("max_resends", "tries"), [(0, 1), (2, 3)])
def test_send_with_a_timeout_is_tried_again_max_resends_times(
    pipes, make_handler, max_resends, tries
):
    faulty = FaultPipe(pipes[0])
    faulty.drop(lambda msg: msg.topic == "train", times=10)
    trainer = make_handler(faulty, max_resends=max_resends, resend_interval=0.001)
    msg = request()
    assert trainer.send_to_peer(msg, timeout=LONG) is False
    assert faulty.hit == [msg] * tries


def test_pipe_that_cannot_resend_is_never_resent_on(pipes, make_handler):
    faulty = FaultPipe(PollingPipe(pipes[0]))
    faulty.drop(lambda msg: msg.topic == "train", times=10)
    trainer = make_handler(faulty)
    assert trainer.send_to_peer(request(), timeout=LONG) is False
    delivery = trainer.deliver(request(), progress_timeout=SHORT)
    assert delivery.outcome is Outcome.GAVE_UP
    assert delivery.text.startswith("gave up after 1 try")
    assert len(faulty.hit) == 2


def test_delivery_gives_up_after_its_own_max_resends(pipes, make_handler):
    faulty = FaultPipe(pipes[0])
    faulty.drop(lambda msg: msg.topic == "train", times=10)
    trainer = make_handler(faulty, max_resends=5, resend_interval=0.001)
    delivery = trainer.deliver(request(), progress_timeout=LONG, max_resends=1)
    assert delivery.outcome is Outcome.GAVE_UP
    assert len(faulty.hit) == 2


def test_triggered_signal_ends_a_send(trainer, pipes):
    signal = Signal()
    signal.triggered = True
    assert trainer.send_to_peer(request(), timeout=LONG, abort_signal=signal) is False
    assert pipes[1].receive() is None or pipes[1].receive() is None  # at most a heartbeat


def test_signal_between_two_tries_ends_a_send(pipes, make_handler):
    faulty = FaultPipe(pipes[0])
    signal = Signal()

    def trigger(msg):
        signal.triggered = True
        return True

    faulty.drop(trigger)
    trainer = make_handler(faulty, resend_interval=10 * LONG)
    sending = in_thread(trainer.send_to_peer, request(), LONG, signal)
    assert sending.result(LONG / 2) is False


def test_cancelled_delivery_ends_at_once_whether_it_is_sent_or_read(trainer, job):
    unread, read = request(1), request(2)
    sending = in_thread(trainer.deliver, unread, LONG)
    trainer.cancel_delivery(unread.msg_id, "void")
    while not sending.done():  # the delivery may have begun only now
        trainer.cancel_delivery(unread.msg_id, "void")
    job.start()
    waiting = in_thread(trainer.deliver, read, LONG)
    while next_of(job).data["number"] != 2:
        pass
    trainer.cancel_delivery(read.msg_id, "void")
    assert sending.result(LONG) == Delivery(Outcome.CANCELLED, "void")
    assert waiting.result(LONG) == Delivery(Outcome.CANCELLED, "void")


def test_delivery_that_is_void_from_the_start_sends_nothing(trainer, pipes):
    delivery = trainer.deliver(request(), LONG, cancel=lambda: True)
    assert delivery.outcome is Outcome.CANCELLED


def test_data_that_cannot_travel_is_a_type_error_at_the_caller(trainer, job):
    job.start()
    for send in (trainer.send_to_peer, trainer.deliver):
        with pytest.raises(TypeError, match="cannot travel"):
            send(Message.new_request("train", object()), LONG)
    assert trainer.send_to_peer(request(1), timeout=LONG)
    assert next_of(job).data == {"number": 1}


# -- answers, duplicates, cancel ----------------------------------------------------------------


def test_first_answer_stands(trainer, job):
    job.start()
    msg = request()
    first = in_thread(trainer.deliver, msg, LONG)
    received = next_of(job)
    assert job.accept(received)
    assert first.result(LONG).accepted
    assert job.refuse(received, "LATE", "second thoughts")
    assert trainer.deliver(msg, LONG).accepted  # the duplicate is answered, not handed out
    assert job.get_next() is None


def test_duplicate_of_an_unanswered_message_goes_to_its_callback(trainer, job):
    duplicates = Heard()
    job.set_duplicate_cb(duplicates)
    job.start()
    msg = request(1)
    assert trainer.send_to_peer(msg, timeout=LONG)
    assert trainer.send_to_peer(msg, timeout=LONG)
    assert duplicates.next().msg_id == msg.msg_id
    assert next_of(job).msg_id == msg.msg_id
    assert job.get_next() is None


def test_peer_that_asks_again_for_a_reply_that_was_read_gets_it_at_once(trainer, job, pipes):
    """As after a restart of the client job, which has forgotten that it read the result."""
    job.start()
    task = request()
    assert job.send_to_peer(task, timeout=LONG)
    result = Message.new_reply("train", None, next_of(trainer).msg_id)
    delivering = in_thread(trainer.deliver, result, 10 * LONG)
    assert next_of(job).msg_id == result.msg_id
    job.stop(close_pipe=False)
    successor = PipeHandler(pipes[1])
    try:
        successor.start()
        assert successor.send_to_peer(task, timeout=LONG)
        again = next_of(successor)
        assert again.msg_id == result.msg_id
        successor.accept(again)
        assert delivering.result(LONG).accepted
    finally:
        successor.stop()


def test_answer_that_is_none_is_ignored(trainer, job, caplog):
    job.start()
    msg = request()
    delivering = in_thread(trainer.deliver, msg, LONG)
    received = next_of(job)
    junk = Message.new_reply(Topic.ACCEPTED, {"accepted": "yes"}, msg.msg_id)
    with caplog.at_level(logging.WARNING):
        assert job.send_to_peer(junk, timeout=LONG)
        job.accept(received)
        assert delivering.result(LONG).accepted
    assert "it holds no answer" in caplog.text


def test_cancel_goes_to_its_callback_and_is_not_queued(trainer, job):
    cancelled = Heard()
    trainer.set_cancel_cb(cancelled)
    data = {"task_id": "t1", "reason": "deadline"}
    assert job.send_to_peer(Message.new_request(Topic.CANCEL, data), timeout=LONG)
    assert cancelled.next().data == data
    assert trainer.get_next() is None
    assert trainer.status is None
