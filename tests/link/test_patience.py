"""How long a call may wait, where something between cuts what is silent."""

from __future__ import annotations

import contextlib

import pytest

from federant.link import LinkUnavailable
from federant.link.patience import Patience
from federant.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def patience(clock: FakeClock) -> Patience:
    return Patience(clock)


def allowed(patience: Patience, seconds: float) -> float:
    with patience.waiting(seconds) as found:
        return found


def cut(patience: Patience, clock: FakeClock, seconds: float, after: float) -> None:
    with contextlib.suppress(LinkUnavailable), patience.waiting(seconds):
        clock.advance(after)
        raise LinkUnavailable("cut")


def test_where_nothing_cuts_a_call_waits_as_long_as_it_likes(patience: Patience) -> None:
    assert allowed(patience, 30.0) == 30.0


def test_a_call_that_was_cut_waits_less_the_next_time(patience: Patience, clock: FakeClock) -> None:
    cut(patience, clock, 30.0, after=10.0)
    assert allowed(patience, 30.0) == pytest.approx(7.0)
    assert allowed(patience, 2.0) == 2.0


@pytest.mark.parametrize("after", [0.1, 40.0])
def test_what_was_not_cut_for_its_silence_changes_nothing(
    patience: Patience, clock: FakeClock, after: float
) -> None:
    cut(patience, clock, 30.0, after=after)
    assert allowed(patience, 30.0) == 30.0


def test_a_wait_that_was_let_be_may_be_longer_the_next_time_until_all_is_as_before(
    patience: Patience, clock: FakeClock
) -> None:
    cut(patience, clock, 30.0, after=10.0)
    found: list[float] = []
    for _ in range(120):
        with patience.waiting(30.0) as seconds:
            found.append(round(seconds, 2))
            clock.advance(seconds)
    assert sorted(set(found)) == [7.0, 10.5, 15.75, 23.62, 30.0]
    assert found == sorted(found)
    assert found.count(7.0) == 20


def test_an_answer_that_came_at_once_says_nothing_of_silence(
    patience: Patience, clock: FakeClock
) -> None:
    cut(patience, clock, 30.0, after=10.0)
    assert allowed(patience, 30.0) == allowed(patience, 30.0) == pytest.approx(7.0)
