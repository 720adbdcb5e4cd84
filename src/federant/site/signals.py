"""A main thread that waits for SIGTERM, SIGINT or the end of the work, and does nothing else."""

from __future__ import annotations

import os
import signal
import threading
from typing import Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_FINISHED = b"\0"


class MainThread:
    """Entered in the main thread; the handlers of before are back afterwards.

    Signals become bytes in a pipe, so no handler ever runs in the middle of other code.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered = False

    def __enter__(self) -> Self:
        self._readable, self._writable = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._writable, False)
        self._old_wakeup = signal.set_wakeup_fd(self._writable, warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, _ignore) for number in _SIGNALS}
        self._entered = True
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        with self._lock:
            self._entered = False
            os.close(self._readable)
            os.close(self._writable)

    def finish(self) -> None:
        """End the wait, from any thread; does nothing once this was left."""
        with self._lock:
            if self._entered:
                os.write(self._writable, _FINISHED)

    def wait(self) -> bool:
        """True: a signal asks to end. False: finish() was called."""
        while True:
            for byte in os.read(self._readable, 64):
                if byte == 0 or byte in _SIGNALS:
                    return byte != 0


def _ignore(number: int, frame: object) -> None:
    """A signal's byte is in the pipe already."""
