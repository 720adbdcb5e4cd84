"""How threads that wait on one pipe take turns at its descriptors; what is read is not here."""

import contextlib
import math
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

_LONGEST_POLL: Final = 3600.0


class Bell:
    """Wakes the thread that works the descriptors; may be rung from a finalizer, by any thread."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # Closed only when nobody can ring any more: the number might mean another file by then.
        # Not at exit either: views may die after that.
        weakref.finalize(self, os.close, self._descriptor).atexit = False

    def fileno(self) -> int:
        return self._descriptor

    def ring(self) -> None:
        os.eventfd_write(self._descriptor, 1)

    def silence(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)


class Interest(NamedTuple):
    """What to wait for: descriptors with their poll masks, for at most so many seconds."""

    descriptors: Iterable[tuple[int, int]]
    seconds: float = math.inf


class Turns:
    """A lock, and waiting under it: the first thread that waits polls for all the others.

    So a message wakes the thread that wants it directly, and no thread has to run in between.
    """

    def __init__(self, interest: Callable[[], Interest], work: Callable[[set[int]], None]) -> None:
        """Both are called with the lock held, by the thread whose turn it is: `interest` says what
        to poll for, `work` gets the descriptors that are ready."""
        self._interest = interest
        self._work = work
        self.bell = Bell()
        self.renew()

    def renew(self) -> None:
        """For a forked child: the thread that held the lock may not exist there."""
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self._working = False

    def wait(self, ready: Callable[[], bool], deadline: float | None) -> None:
        """Returns once ready() is true or the deadline (time.monotonic) is over; lock held.

        What has come already counts though the time is up.
        """
        something_came = True
        while not ready():
            seconds = math.inf if deadline is None else max(deadline - time.monotonic(), 0)
            if not seconds and not something_came:
                return
            if self._working:
                self.changed.wait(min(seconds, _LONGEST_POLL))
                something_came = False
            else:
                something_came = self._work_for(seconds)

    def look(self) -> None:
        """Sees to what has come, without waiting; lock held."""
        if not self._working:
            self._work_for(0)

    def finish(self) -> None:
        """Waits until no thread polls; lock held. Waiting threads look again what is the matter."""
        self.bell.ring()
        self.changed.notify_all()
        self.changed.wait_for(lambda: not self._working)

    def _work_for(self, seconds: float) -> bool:
        self._working = True
        try:
            descriptors, most = self._interest()
            poll = select.poll()
            poll.register(self.bell, select.POLLIN)
            for descriptor, mask in descriptors:
                poll.register(descriptor, mask)
            milliseconds = math.ceil(min(seconds, most, _LONGEST_POLL) * 1000)
            self.lock.release()
            try:
                ready = {descriptor for descriptor, _ in poll.poll(milliseconds)}
            finally:
                self.lock.acquire()
            if self.bell.fileno() in ready:
                self.bell.silence()
            self._work(ready)
            return bool(ready)
        finally:
            self._working = False
            self.changed.notify_all()
