"""Whoever is denied over and over does not fill the log, and is counted in it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from federant.cli.log_flood import MOST_KINDS, MOST_LINES, DenialFlood

WORDS = "denied client=127.0.0.1:%d reason=%r"


class Minute:
    """Time in the test's hands: what is to be done when the minute is over."""

    def __init__(self) -> None:
        self.ends: list[Callable[[], None]] = []

    def later(self, _seconds: float, tell: Callable[[], None]) -> None:
        self.ends.append(tell)

    def passes(self) -> None:
        for tell in self.ends:
            tell()
        self.ends.clear()


@pytest.fixture
def minute() -> Minute:
    return Minute()


@pytest.fixture
def flood(minute: Minute) -> DenialFlood:
    return DenialFlood(minute.later)


def line(text: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("federant.server", logging.WARNING, __file__, 1, text, values, None)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "federant.denials"]


def test_the_first_of_each_kind_is_logged_however_many_there_are_of_another(
    flood: DenialFlood,
) -> None:
    written = [flood.filter(line(WORDS, port, "expired")) for port in range(100)]
    assert written == [True] * MOST_LINES + [False] * (100 - MOST_LINES)
    assert flood.filter(line(WORDS, 1, "of another authority"))


def test_what_was_left_out_is_counted_when_the_minute_is_over(
    flood: DenialFlood, minute: Minute, caplog: pytest.LogCaptureFixture
) -> None:
    for port in range(MOST_LINES + 7):
        flood.filter(line(WORDS, port, "expired"))
    minute.passes()
    assert told(caplog) == ["not logged one by one: denials=7 kinds=1 seconds=60"]
    assert flood.filter(line(WORDS, 1, "expired"))
    minute.passes()
    assert len(told(caplog)) == 1


def test_kinds_that_a_caller_makes_up_are_bounded_too(
    flood: DenialFlood, minute: Minute, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{'x' * (at + 1)}" for at in range(MOST_KINDS + 10)]
    written = [flood.filter(line("denied fqcn=%r", name)) for name in names]
    assert written == [True] * MOST_KINDS + [False] * 10
    minute.passes()
    assert told(caplog) == ["not logged one by one: denials=10 kinds=1 seconds=60"]


def test_paths_and_addresses_make_no_kinds_of_their_own(flood: DenialFlood) -> None:
    words = "denied who='nobody known' client=127.0.0.1:%d call=GET %r code=no_certificate"
    written = [flood.filter(line(words, at, f"/made-up/{at}")) for at in range(MOST_LINES + 1)]
    assert written == [True] * MOST_LINES + [False]


def test_other_lines_are_all_written(flood: DenialFlood) -> None:
    assert all(flood.filter(line("serving folder=%s", "here")) for _ in range(100))
