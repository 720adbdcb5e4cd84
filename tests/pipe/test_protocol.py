import math

import pytest

from federant.pipe.protocol import (
    Answer,
    Delivery,
    Inbox,
    Life,
    Outcome,
    Outgoing,
    Send,
    Terms,
    Wait,
)
from federant.testing import FakeClock

OK = Answer(accepted=True, rc="OK")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def life(clock):
    return Life(heartbeat_interval=5.0, heartbeat_timeout=30.0, clock=clock)


def outgoing(clock, until=Outcome.ACCEPTED, resend_interval=2.0, max_resends=None):
    return Outgoing(Terms(until, 30.0, resend_interval, max_resends), clock)


def read_at_once(message):
    assert message.next() == Send(30.0)
    message.sent(read=True)


# -- life ---------------------------------------------------------------------------------------


def test_first_heartbeat_is_due_at_once_and_the_next_after_the_interval(life, clock):
    assert life.until_heartbeat() == 0
    life.heartbeat_sent()
    assert life.until_heartbeat() == 5.0
    clock.advance(5.0)
    assert life.until_heartbeat() == 0


def test_peer_that_is_silent_for_the_timeout_counts_as_gone(life, clock):
    clock.advance(29.5)
    assert life.until_gone() == 0.5
    clock.advance(0.5)
    assert life.until_gone() == 0


def test_every_sign_of_life_starts_the_timeout_anew(life, clock):
    clock.advance(29.0)
    life.heard()
    assert life.until_gone() == 30.0


def test_life_heard_of_late_counts_from_when_it_was(life, clock):
    sign = clock() + 10.0
    clock.advance(20.0)
    life.heard(sign)
    assert life.until_gone() == 20.0


def test_news_older_than_what_is_known_changes_nothing(life, clock):
    clock.advance(10.0)
    life.heard()
    life.heard(0.0)
    assert life.until_gone() == 30.0


def test_sign_of_life_from_the_future_does_not_count_ahead(life, clock):
    life.heard(clock() + 1e9)
    assert life.until_gone() == 30.0


def test_timeout_zero_never_takes_the_peer_for_gone(clock):
    life = Life(heartbeat_interval=5.0, heartbeat_timeout=0, clock=clock)
    clock.advance(1e6)
    assert life.until_gone() == math.inf


def test_paused_life_sends_no_heartbeat_and_takes_nobody_for_gone(life, clock):
    life.pause()
    clock.advance(1e6)
    assert life.until_heartbeat() == math.inf
    assert life.until_gone() == math.inf


def test_resumed_life_gives_the_peer_the_whole_timeout(life, clock):
    life.pause()
    clock.advance(1e6)
    life.resume()
    assert life.until_gone() == 30.0
    assert life.until_heartbeat() == 0


# -- one message on its way out -----------------------------------------------------------------


def test_message_is_sent_then_waits_to_be_accepted_then_is_done(clock):
    message = outgoing(clock)
    read_at_once(message)
    assert message.next() == Wait(30.0)
    message.answered(OK)
    assert message.next() == Delivery(Outcome.ACCEPTED, rc="OK")


def test_message_that_only_needs_to_be_read_is_done_when_read(clock):
    message = outgoing(clock, until=Outcome.READ)
    read_at_once(message)
    assert message.next() == Delivery(Outcome.READ)


def test_refused_message_ends_with_the_code_and_the_reason(clock):
    message = outgoing(clock)
    read_at_once(message)
    message.answered(Answer(accepted=False, rc="RESULT_NOT_FINITE", error="layer1 holds NaN"))
    assert message.next() == Delivery(Outcome.REFUSED, "layer1 holds NaN", "RESULT_NOT_FINITE")


def test_reading_is_progress_and_prolongs_the_try(clock):
    message = outgoing(clock)
    assert message.next() == Send(30.0)
    clock.advance(29.0)
    message.sent(read=True)
    assert message.next() == Wait(30.0)


def test_read_message_that_is_not_accepted_is_sent_again_after_the_interval(clock):
    message = outgoing(clock)
    read_at_once(message)
    clock.advance(30.0)
    assert message.next() == Wait(2.0)
    clock.advance(2.0)
    assert message.next() == Send(30.0)


def test_unread_message_is_sent_again_after_the_interval(clock):
    message = outgoing(clock)
    assert message.next() == Send(30.0)
    clock.advance(30.0)
    message.sent(read=False)
    assert message.next() == Wait(2.0)


def test_message_whose_reader_went_away_is_sent_again_without_waiting_for_the_timeout(clock):
    message = outgoing(clock)
    assert message.next() == Send(30.0)
    clock.advance(0.1)
    message.sent(read=False)
    assert message.next() == Wait(2.0)


def test_message_that_could_not_be_read_is_sent_again_after_the_interval(clock):
    message = outgoing(clock, max_resends=1)
    for _ in range(2):
        assert message.next() == Send(30.0)
        message.sent(read=False, dropped="no memory")
        clock.advance(2.0)
    assert message.next() == Delivery(
        Outcome.GAVE_UP, "gave up after 2 tries: the peer could not read the message: no memory"
    )


def test_nothing_is_sent_again_while_bytes_move(clock):
    message = outgoing(clock)
    assert message.next() == Send(30.0)
    clock.advance(30.0)
    message.moved(clock() - 1.0)
    message.sent(read=False)
    assert message.next() == Wait(29.0)
    clock.advance(20.0)
    message.moved(clock())
    assert message.next() == Wait(30.0)
    clock.advance(30.0)
    assert message.next() == Wait(2.0)


def test_an_upload_of_two_hours_is_no_dead_peer_and_one_that_stands_still_is(life, clock):
    message = outgoing(clock, max_resends=0)
    assert message.next() == Send(30.0)
    began = clock()
    while clock() < began + 2 * 3600.0:
        clock.advance(20.0)  # of 50 GB some 140 MB, say
        life.heard()
        message.moved(clock())
        if clock() == began + 40.0:
            message.sent(read=False)  # the pipe waits no longer; what is under way goes on
        assert message.next() == Wait(30.0)
        assert life.until_gone() == 30.0
    clock.advance(30.0)
    assert life.until_gone() == 0
    assert message.next() == Delivery(
        Outcome.GAVE_UP, "gave up after 1 try: not accepted within 30 s"
    )


def test_moves_between_two_tries_do_not_hold_the_next_one_up(clock):
    message = outgoing(clock)
    read_at_once(message)
    clock.advance(30.0)
    message.next()
    message.moved(clock())
    assert message.next() == Wait(2.0)


@pytest.mark.parametrize(("max_resends", "tries"), [(0, 1), (1, 2), (5, 6)])
def test_max_resends_is_how_many_tries_follow_the_first(clock, max_resends, tries):
    message = outgoing(clock, max_resends=max_resends)
    sends = 0
    while not isinstance(step := message.next(), Delivery):
        if isinstance(step, Send):
            sends += 1
            clock.advance(step.timeout)
            message.sent(read=False)
        else:
            clock.advance(step.seconds)
    assert sends == tries
    assert step.outcome is Outcome.GAVE_UP


def test_giving_up_says_after_how_many_tries_and_why(clock):
    message = outgoing(clock, max_resends=1)
    for _ in range(2):
        read_at_once(message)
        clock.advance(30.0)
        message.next()
        clock.advance(2.0)
    assert message.next() == Delivery(
        Outcome.GAVE_UP, "gave up after 2 tries: not accepted within 30 s"
    )


def test_without_a_limit_it_never_gives_up(clock):
    message = outgoing(clock)
    for _ in range(1000):
        assert message.next() == Send(30.0)
        clock.advance(30.0)
        message.sent(read=False)
        message.next()
        clock.advance(2.0)
    assert isinstance(message.next(), Send)


@pytest.mark.parametrize("never", [None, 0])
def test_without_a_resend_interval_there_is_one_try(clock, never):
    message = outgoing(clock, resend_interval=never)
    read_at_once(message)
    clock.advance(30.0)
    assert message.next() == Delivery(
        Outcome.GAVE_UP, "gave up after 1 try: not accepted within 30 s"
    )


def test_answer_between_two_tries_ends_it(clock):
    message = outgoing(clock)
    read_at_once(message)
    clock.advance(30.0)
    message.next()
    message.answered(OK)
    assert message.next() == Delivery(Outcome.ACCEPTED, rc="OK")


def test_answer_that_overtakes_the_news_of_reading_counts(clock):
    message = outgoing(clock)
    message.next()
    message.answered(OK)
    message.sent(read=False)
    assert message.next() == Delivery(Outcome.ACCEPTED, rc="OK")


def test_first_end_stands(clock):
    message = outgoing(clock)
    read_at_once(message)
    message.answered(OK)
    message.cancelled("too late")
    message.stopped("too late")
    assert message.next() == Delivery(Outcome.ACCEPTED, rc="OK")


def test_cancelled_and_stopped_messages_say_so(clock):
    cancelled, stopped = outgoing(clock), outgoing(clock)
    cancelled.cancelled("the task is void")
    stopped.stopped("the peer is gone")
    assert cancelled.next() == Delivery(Outcome.CANCELLED, "the task is void")
    assert stopped.next() == Delivery(Outcome.STOPPED, "the peer is gone")


def test_peer_that_asks_again_gets_the_message_at_once(clock):
    message = outgoing(clock, max_resends=0)
    read_at_once(message)
    clock.advance(1.0)
    message.asked_again()
    assert message.next() == Send(30.0)


def test_peer_that_asks_again_while_the_message_is_being_sent_changes_nothing(clock):
    message = outgoing(clock)
    message.next()
    message.asked_again()
    message.sent(read=True)
    assert message.next() == Wait(30.0)


def test_peer_that_asks_again_gets_nothing_on_a_pipe_that_cannot_resend(clock):
    message = outgoing(clock, resend_interval=None)
    read_at_once(message)
    message.asked_again()
    assert message.next() == Wait(30.0)


# -- duplicates ---------------------------------------------------------------------------------


def test_message_is_admitted_once():
    inbox = Inbox(remembered=10)
    assert inbox.admit("a")
    assert not inbox.admit("a")
    assert inbox.admit("b")


def test_first_answer_is_the_one_that_holds():
    inbox = Inbox(remembered=10)
    inbox.admit("a")
    assert inbox.answer("a") is None
    assert inbox.answered("a", OK) == OK
    assert inbox.answered("a", Answer(False, "ERROR", "second thoughts")) == OK
    assert inbox.answer("a") == OK


def test_memory_is_bounded_and_keeps_the_latest():
    inbox = Inbox(remembered=2)
    inbox.admit("old")
    inbox.admit("recent")
    inbox.admit("old")  # asked for again, so it is not the oldest any more
    inbox.admit("new")
    assert not inbox.admit("old")
    assert not inbox.admit("new")
    assert inbox.admit("recent")


# -- answers ------------------------------------------------------------------------------------


def test_answer_survives_the_way_through_a_message():
    answer = Answer(accepted=False, rc="BAD", error="why")
    assert Answer.from_data(answer.to_data()) == answer


@pytest.mark.parametrize(
    "data",
    [
        None,
        "OK",
        {},
        {"accepted": 1, "rc": "OK", "error": ""},
        {"accepted": True, "rc": None, "error": ""},
        {"accepted": True, "rc": "OK"},
    ],
)
def test_data_that_is_no_answer_is_none(data):
    assert Answer.from_data(data) is None
