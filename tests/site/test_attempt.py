"""When an attempt at a task has ended, decided from facts and a time that the test sets."""

from __future__ import annotations

import pytest

from federant.site.attempt import (
    CRASH_SECONDS,
    SETTLE_SECONDS,
    Attempt,
    Crash,
    End,
    ExchangeLimits,
    Facts,
    Left,
)
from federant.site.journal import OpenTask
from federant.site.launcher import Exit

KILLED = Exit(signal=9)
CLEAN = Exit(status=0)


def attempt(*, read_at: float | None = None, deadline: float | None = None, **limits: float | None):
    task = OpenTask("t1", 1, "train", 2)
    return Attempt(task, ExchangeLimits(**limits), 0.0, deadline, read_at)  # type: ignore[arg-type]


def managed(**facts: object) -> Facts:
    return Facts(False, **facts)  # type: ignore[arg-type]


def external(**facts: object) -> Facts:
    return Facts(True, **facts)  # type: ignore[arg-type]


def left(time: float, *, clean: bool) -> Left:
    return Left(clean, "goodbye" if clean else "connection lost", time)


def test_an_unread_task_goes_on_until_the_reading_limit():
    waiting = attempt(peer_read_timeout=60.0)
    assert waiting.look(59.0, managed()) is None
    assert waiting.seconds(59.0) == 1.0
    assert waiting.look(60.0, managed()) is End.ABSENT
    assert waiting.text.startswith("no trainer read task train t1 (attempt 2) within 60 s")


def test_without_limits_there_is_nothing_to_look_for_in_an_unread_task():
    waiting = attempt(peer_read_timeout=None)
    assert waiting.look(1e6, external()) is None
    assert waiting.seconds(1e6) is None


@pytest.mark.parametrize(("read_at", "told"), [(None, "not even read it"), (1.0, "has it in hand")])
def test_the_deadline_ends_a_task_whoever_has_it(read_at: float | None, told: str):
    late = attempt(read_at=read_at, deadline=10.0)
    assert late.look(9.9, managed(last_sign=9.0)) is None
    assert late.look(10.0, managed(last_sign=9.0)) is End.TIMEOUT
    assert told in late.text


def test_a_dead_process_whose_pipe_has_ended_is_dead_at_once():
    dead = attempt(read_at=1.0)
    assert dead.look(5.0, managed(exit=KILLED, left=left(5.0, clean=False))) is End.DIED
    assert "with task train t1 (attempt 2) in hand: killed by signal 9 (SIGKILL)" in dead.text


def test_a_dead_process_whose_pipe_has_not_ended_may_still_have_sent_its_result():
    dead = attempt(read_at=1.0)
    assert dead.look(5.0, managed(exit=KILLED)) is None
    assert dead.seconds(5.0) == SETTLE_SECONDS
    assert dead.look(5.0 + SETTLE_SECONDS, managed(exit=KILLED)) is End.DIED


def test_a_process_that_ended_well_has_left_and_another_may_have_the_task():
    gone = attempt(read_at=1.0)
    assert gone.look(5.0, managed(exit=CLEAN, left=left(5.0, clean=True))) is End.LEFT


def test_a_goodbye_of_a_process_that_lives_leaves_the_task_to_another():
    gone = attempt(read_at=1.0)
    facts = managed(left=left(5.0, clean=True), last_sign=5.0)
    assert gone.look(5.0, facts) is None
    assert gone.look(5.0 + SETTLE_SECONDS, facts) is End.LEFT


def test_a_lost_connection_of_a_process_that_lives_is_waited_for():
    cut = attempt(read_at=1.0)
    facts = managed(left=left(5.0, clean=False), last_sign=5.0)
    assert cut.look(5.0, facts) is None
    assert cut.look(5.0 + SETTLE_SECONDS, facts) is None
    assert cut.look(20.0, facts) is None


@pytest.mark.parametrize(("clean", "end"), [(True, End.LEFT), (False, End.DIED)])
def test_of_an_external_trainer_only_the_pipe_tells(clean: bool, end: End):
    gone = attempt(read_at=1.0)
    assert gone.look(5.0, external(left=left(5.0, clean=clean), last_sign=5.0)) is end


def test_what_left_before_the_last_sign_of_life_was_another_trainer():
    served = attempt(read_at=5.1)
    assert served.look(9.0, managed(left=left(5.0, clean=True), last_sign=5.1)) is None
    assert served.look(9.0, external(left=left(5.0, clean=True), last_sign=5.1)) is None


def test_a_trainer_that_crashed_has_a_moment_to_end_by_itself():
    crashed = attempt(read_at=1.0)
    crash = Crash("ValueError: bad batch", 5.0)
    goodbye = left(5.1, clean=True)
    assert crashed.look(5.2, managed(crash=crash, left=goodbye)) is None
    assert crashed.look(5.3, managed(crash=crash, left=goodbye, exit=Exit(status=1))) is End.DIED
    assert "exit status 1" in crashed.text
    assert crashed.look(5.0 + CRASH_SECONDS, managed(crash=crash, left=goodbye)) is End.STUCK


def test_an_external_trainer_that_crashed_has_a_moment_for_its_other_processes():
    crashed = attempt(read_at=1.0)
    crash = Crash("ValueError: bad batch", 5.0)
    assert crashed.look(5.2, external(crash=crash)) is None
    assert crashed.seconds(5.2) == pytest.approx(SETTLE_SECONDS - 0.2)
    assert crashed.look(5.0 + SETTLE_SECONDS, external(crash=crash)) is End.DIED
    assert crashed.text.endswith("ValueError: bad batch")


def test_a_silent_trainer_is_shown_as_stalled_and_recovers():
    slow = attempt(read_at=0.0, stalled_after=60.0)
    assert slow.look(59.0, managed(last_sign=1.0)) is None
    assert not slow.stalled
    assert slow.seconds(59.0) == 2.0
    assert slow.look(61.0, managed(last_sign=1.0)) is None
    assert slow.stalled
    assert slow.seconds(61.0) == 60.0
    assert slow.look(70.0, managed(last_sign=69.0)) is None
    assert not slow.stalled


def test_a_silent_trainer_is_ended_only_where_the_site_sets_a_limit():
    slow = attempt(read_at=0.0, stalled_after=60.0, stall_limit=300.0)
    assert slow.look(299.0, managed()) is None
    assert slow.look(300.0, managed()) is End.STUCK
    assert "no sign of life for 300 s" in slow.text
