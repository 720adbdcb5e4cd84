"""A handler: its arguments, what it receives and tells, its peer's life, and its own end."""

import logging
import threading

import pytest

from federant.pipe import Delivery, Message, Outcome, PipeHandler, Topic
from federant.testing.two_ends import LONG, SHORT, in_thread, next_of, request

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
    trainer, job, heard
):
    job.set_message_cb(heard, "extra", key="word")
    job.start()
    assert trainer.send_to_peer(request(1), timeout=LONG)
    assert heard.next().data == {"number": 1}
    assert heard.arguments == (("extra",), {"key": "word"})
    assert job.get_next() is None


def test_callback_that_raises_is_logged_and_the_handler_goes_on(trainer, job, caplog, heard):

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


def test_pipe_that_cannot_wake_is_polled(pipes, make_handler, polling_pipe):
    trainer = make_handler(pipes[0])
    job = make_handler(polling_pipe(pipes[1]), read_interval=0.01)
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


def test_status_callback_gets_the_status_which_is_not_queued(trainer, job, heard):
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


def test_message_at_hand_beats_the_news_that_its_sender_is_silent(
    pipes, make_handler, polling_pipe
):
    """As after minutes in which no thread of this process could run."""

    class Held(polling_pipe):
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


def test_broken_pipe_is_reported_as_peer_gone_once(trainer, job, pipes, heard):
    job.set_status_cb(heard)
    job.start()
    pipes[1].close()
    assert heard.next().data["clean"] is False
    assert job.send_to_peer(request()) is False
    assert job.notify_end("end") is False
    assert heard.is_empty()


def test_pipe_that_fails_in_another_way_is_reported_with_the_error(
    make_handler, pipes, caplog, polling_pipe
):
    class Broken(polling_pipe):
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
