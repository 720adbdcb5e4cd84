"""What two handlers agree on, as machines with an injected clock: no thread, no pipe, no waiting.

Life knows when a heartbeat is due and when the peer counts as gone. Outgoing decides when a message
is sent again and when it is given up. Inbox remembers which messages came and how they were
answered. None of them is thread-safe: the handler calls them under its lock.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

Clock: TypeAlias = Callable[[], float]
"""Seconds that never go back, such as time.monotonic."""


class Life:
    """Both directions of liveness: our heartbeats, and what was heard of the peer."""

    def __init__(self, heartbeat_interval: float, heartbeat_timeout: float, clock: Clock) -> None:
        """Seconds; a heartbeat_timeout of 0 means that the peer never counts as gone."""
        self._interval = heartbeat_interval
        self._timeout = heartbeat_timeout
        self._clock = clock
        self._heartbeat_at = clock()
        self._heard_at = clock()
        self._paused = False

    @property
    def paused(self) -> bool:
        return self._paused

    def heard(self, at: float | None = None) -> None:
        """The peer showed life, now or at a time of the clock; news of the past changes nothing."""
        now = self._clock()
        self._heard_at = max(self._heard_at, now if at is None else min(at, now))

    def heartbeat_sent(self) -> None:
        self._heartbeat_at = self._clock() + self._interval

    def until_heartbeat(self) -> float:
        """Seconds until a heartbeat is due; infinite while paused. The first is due at once."""
        return math.inf if self._paused else max(0.0, self._heartbeat_at - self._clock())

    def until_gone(self) -> float:
        """Seconds until the peer counts as gone if nothing is heard; infinite if it never does."""
        if self._paused or not self._timeout:
            return math.inf
        return max(0.0, self._heard_at + self._timeout - self._clock())

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        """Starts the clock of the peer's life anew."""
        self._paused = False
        self._heard_at = self._clock()


class Outcome(StrEnum):
    """How the sending of one message ended."""

    ACCEPTED = "ACCEPTED"
    """The peer took it over and said so."""
    REFUSED = "REFUSED"
    """The peer does not want it, ever."""
    READ = "READ"
    """The peer's receive returned it, and no more was asked for."""
    GAVE_UP = "GAVE_UP"
    """The tries are used up; it is not known whether the peer has it."""
    CANCELLED = "CANCELLED"
    STOPPED = "STOPPED"
    """The handler was stopped, or the peer aborted, ended, or is gone."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message."""

    outcome: Outcome
    text: str = ""
    """Why, in words, where it was not accepted."""
    rc: str = ""
    """The return code that the peer answered with, if it answered."""

    @property
    def accepted(self) -> bool:
        return self.outcome is Outcome.ACCEPTED


@dataclass(frozen=True, slots=True)
class Answer:
    """The receiver's verdict on one message."""

    accepted: bool
    rc: str
    error: str = ""

    def to_data(self) -> dict[str, object]:
        return {"accepted": self.accepted, "rc": self.rc, "error": self.error}

    @staticmethod
    def from_data(data: object) -> "Answer | None":
        """None for what is no answer: it came from a peer, which may send anything."""
        if not isinstance(data, dict):
            return None
        accepted, rc, error = data.get("accepted"), data.get("rc"), data.get("error")
        if not (isinstance(accepted, bool) and isinstance(rc, str) and isinstance(error, str)):
            return None
        return Answer(accepted, rc, error)


@dataclass(frozen=True, slots=True)
class Send:
    """Send the message now, wait at most timeout seconds, then report by Outgoing.sent."""

    timeout: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again after so many seconds, or as soon as something happened."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a message is sent."""

    until: Outcome
    """What counts as success: ACCEPTED or READ."""
    progress_timeout: float
    """Seconds without progress after which a try has failed."""
    resend_interval: float | None = None
    """Seconds from a failed try to the next; None or 0: there is one try only."""
    max_resends: int | None = None
    """How many tries may follow the first; None: no limit."""


class Outgoing:
    """One message on its way out: sent, read, accepted, try after try.

    That the message is read, and that bytes move, is progress; it prolongs the try.
    """

    def __init__(self, terms: Terms, clock: Clock) -> None:
        self._terms = terms
        self._clock = clock
        self._tries = 0
        self._due: float | None = clock()  # when the next try begins; None while one is under way
        self._sending = False  # whether the pipe's send has not come back yet
        self._send_ends = 0.0  # when it will, unless the peer goes away
        self._deadline = 0.0  # of the try that is under way
        self._delivery: Delivery | None = None

    def next(self) -> Send | Wait | Delivery:
        """What to do now; a Delivery is the end."""
        now = self._clock()
        if self._delivery is None and self._due is None and now >= self._deadline:
            self._fail(f"not {self._terms.until.lower()} within {self._terms.progress_timeout:g} s")
        if self._delivery is not None:
            return self._delivery
        if self._due is None:
            return Wait(self._deadline - now)
        if now < self._due:
            return Wait(self._due - now)
        self._tries += 1
        self._due = None
        self._sending = True
        self._send_ends = self._deadline = now + self._terms.progress_timeout
        return Send(self._terms.progress_timeout)

    def sent(self, read: bool, dropped: str = "") -> None:
        """The pipe's send came back: True as soon as the peer has read the message.

        dropped: why the peer could not read it, if it said so.
        """
        self._sending = False
        now = self._clock()
        if read and self._terms.until is Outcome.READ:
            self._end(Delivery(Outcome.READ))
        elif read:
            self._deadline = now + self._terms.progress_timeout
        elif dropped:
            self._fail(f"the peer could not read the message: {dropped}")
        elif now < self._send_ends:
            self._fail("the peer dropped the message unread, or went away")
        elif self._terms.until is Outcome.READ or now >= self._deadline:
            self._fail(
                f"the peer did not read the message within {self._terms.progress_timeout:g} s"
            )

    def moved(self, at: float) -> None:
        """Bytes of the peer were seen at that time: the try that is under way lives on."""
        if self._due is None:
            self._deadline = max(
                self._deadline, min(at, self._clock()) + self._terms.progress_timeout
            )

    def asked_again(self) -> None:
        """The peer does not know this message though it was read: send it now, not later.

        It counts as no further try. Nothing happens on the way that knows only one try.
        """
        if self._terms.resend_interval and not self._sending:
            if self._due is None:
                self._tries -= 1
            self._due = self._clock()

    def answered(self, answer: Answer) -> None:
        outcome = Outcome.ACCEPTED if answer.accepted else Outcome.REFUSED
        self._end(Delivery(outcome, answer.error, answer.rc))

    def cancelled(self, text: str) -> None:
        self._end(Delivery(Outcome.CANCELLED, text))

    def stopped(self, text: str) -> None:
        self._end(Delivery(Outcome.STOPPED, text))

    def _end(self, delivery: Delivery) -> None:
        if self._delivery is None:
            self._delivery = delivery

    def _fail(self, why: str) -> None:
        used_up = self._terms.max_resends is not None and self._tries > self._terms.max_resends
        if used_up or not self._terms.resend_interval:
            tries = "1 try" if self._tries == 1 else f"{self._tries} tries"
            self._end(Delivery(Outcome.GAVE_UP, f"gave up after {tries}: {why}"))
        else:
            self._due = self._clock() + self._terms.resend_interval


class Inbox:
    """Which messages came, by key, and the first answer to each; remembers the latest ones."""

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self._answers: OrderedDict[Hashable, Answer | None] = OrderedDict()

    def admit(self, key: Hashable) -> bool:
        """Whether this is the first time that the key comes."""
        if key in self._answers:
            self._answers.move_to_end(key)
            return False
        self._keep(key, None)
        return True

    def answer(self, key: Hashable) -> Answer | None:
        """How the message was answered; None if it was not yet, or is not known."""
        return self._answers.get(key)

    def answered(self, key: Hashable, answer: Answer) -> Answer:
        """Notes the answer and returns the one that holds, which is the first."""
        first = self._answers.get(key)
        if first is not None:
            return first
        self._keep(key, answer)
        return answer

    def _keep(self, key: Hashable, answer: Answer | None) -> None:
        self._answers[key] = answer
        if len(self._answers) > self._remembered:
            self._answers.popitem(last=False)
