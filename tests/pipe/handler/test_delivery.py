"""A handler: sending, trying again, delivering, and what the peer answers."""

import logging

import pytest

from federant.pipe import Delivery, Message, Outcome, PipeHandler, Topic
from federant.testing import FaultPipe
from federant.testing.two_ends import LONG, SHORT, in_thread, next_of, request

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


def test_pipe_that_cannot_resend_is_never_resent_on(pipes, make_handler, polling_pipe):
    faulty = FaultPipe(polling_pipe(pipes[0]))
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


def test_duplicate_of_an_unanswered_message_goes_to_its_callback(trainer, job, heard):
    job.set_duplicate_cb(heard)
    job.start()
    msg = request(1)
    assert trainer.send_to_peer(msg, timeout=LONG)
    assert trainer.send_to_peer(msg, timeout=LONG)
    assert heard.next().msg_id == msg.msg_id
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


def test_cancel_goes_to_its_callback_and_is_not_queued(trainer, job, heard):
    trainer.set_cancel_cb(heard)
    data = {"task_id": "t1", "reason": "deadline"}
    assert job.send_to_peer(Message.new_request(Topic.CANCEL, data), timeout=LONG)
    assert heard.next().data == data
    assert trainer.get_next() is None
    assert trainer.status is None
