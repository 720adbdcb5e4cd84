"""Signals that end the demo: raised in its work, noted while it tidies up."""

import signal
import threading
from collections.abc import Iterator

import pytest

from federant.demo.interrupts import Interrupted, Interrupts

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_the_work(number: signal.Signals) -> None:
    with (
        Interrupts() as interrupts,
        pytest.raises(Interrupted, match=number.name) as caught,
        interrupts.raised(),
    ):
        signal.raise_signal(number)
    assert caught.value.number == number


def test_a_signal_outside_of_the_work_waits_for_it() -> None:
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted), interrupts.raised():
            pytest.fail("the work had begun")


def test_no_signal_disturbs_the_tidying_up() -> None:
    tidied = []

    def work(interrupts: Interrupts) -> None:
        try:
            with interrupts.raised():
                signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGHUP)
            tidied.append("everything")

    with Interrupts() as interrupts, pytest.raises(Interrupted, match="SIGTERM"):
        work(interrupts)
    assert tidied == ["everything"]


def test_work_that_is_over_is_not_interrupted() -> None:
    with Interrupts() as interrupts:
        with interrupts.raised():
            pass
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_that_got_lost_is_raised_by_the_next_check() -> None:
    with Interrupts() as interrupts, interrupts.raised():
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            interrupts.check()


class Interrupting:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_an_interrupt_in_a_finaliser_is_raised_by_the_next_check_and_told_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", told.append)
    with Interrupts() as interrupts, interrupts.raised():
        Interrupting()
        with pytest.raises(Interrupted):
            interrupts.check()
    assert told == []


def test_what_fails_as_the_work_is_left_does_not_hide_the_interrupt() -> None:
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            raise OSError("cut off in the middle")

    with Interrupts() as interrupts, pytest.raises(Interrupted), interrupts.raised():
        work()


def test_work_that_fails_by_itself_says_so() -> None:
    with Interrupts() as interrupts, pytest.raises(OSError, match="full"), interrupts.raised():
        raise OSError("the disk is full")


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts, interrupts.raised():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_it_leaves_signals_alone() -> None:
    seen = []

    def work() -> None:
        with Interrupts() as interrupts, interrupts.raised():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
