"""A few times at once, then now and then; by a clock of the test's own."""

from __future__ import annotations

import pytest

from federant.cellnet.pace import Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_may_be_done_a_few_times_at_once_and_then_once_in_each_time() -> None:
    clock = Clock()
    pace = Pace(3, 2.0, clock)
    assert [pace.take() for _ in range(5)] == [True, True, True, False, False]
    assert pace.wait_seconds == pytest.approx(2.0)
    clock.now += 2.0
    assert [pace.take(), pace.take()] == [True, False]


def test_after_a_rest_it_may_be_done_no_more_than_those_few_times_at_once() -> None:
    clock = Clock()
    pace = Pace(3, 2.0, clock)
    clock.now += 1000.0
    assert [pace.take() for _ in range(4)] == [True, True, True, False]
