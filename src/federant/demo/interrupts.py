"""Signals that end the demo: raised while it works, only noted while it tidies up."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal has ended the work."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        """Which signal it was."""


class Interrupts:
    """As a context manager, takes SIGINT, SIGTERM and SIGHUP over from the handlers of before.

    A signal is noted. Within `raised` it is raised as well, once: so what is tidied up outside of
    `raised` is tidied up to its end, whatever comes. In a thread other than the main one, which
    gets no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._raising = False
        self._noted: int | None = None
        self._before: dict[int, Any] = {}
        self._tell_lost: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before = signal.getsignal(number)
                # nohup ignores the loss of the terminal on purpose.
                if number != signal.SIGHUP or before != signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._take)
            self._tell_lost, sys.unraisablehook = sys.unraisablehook, self._lost
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._tell_lost is not None:
            sys.unraisablehook = self._tell_lost

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Round work that may be left anywhere: Interrupted at a signal, also an earlier one.

        What fails because of the interrupt, as the work is left, does not hide it.
        """
        self._raising = True
        try:
            self.check()
            yield
        except Exception:
            self.check()
            raise
        finally:
            self._raising = False

    def check(self) -> None:
        """Interrupted if there was a signal.

        Work that takes long calls this now and then: Python drops what is raised while it runs a
        finaliser.
        """
        if self._noted is not None:
            self._raising = False
            raise Interrupted(self._noted)

    def _lost(self, lost: Any) -> None:
        """What was raised in a finaliser is told, but for an interrupt: `check` raises it again."""
        if not isinstance(lost.exc_value, Interrupted):
            self._tell_lost(lost)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self._noted is None:
            self._noted = number
        if self._raising:
            # Off before the work is left, so that a second signal finds the tidying up protected.
            self._raising = False
            raise Interrupted(self._noted)
