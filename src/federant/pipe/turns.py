"""How calls wait at one open end of a pipe, by turns at its descriptors; nothing is read here."""

import contextlib
import math
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from federant.pipe.errors import PipeClosedError

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
    """A lock, and waiting under it while this end is open: the first thread that waits polls for
    all the others.

    So a message wakes the thread that wants it directly, and no thread has to run in between.
    """

    def __init__(
        self,
        place: object,
        interest: Callable[[], Interest],
        work: Callable[[set[int]], None],
    ) -> None:
        """`place` is what this end is called in errors. The others are called with the lock held,
        by the thread whose turn it is: `interest` says what to poll for, `work` gets the
        descriptors that are ready."""
        self._place = place
        self._interest = interest
        self._work = work
        self.bell = Bell()
        self.woken = False
        """Whether wake was called, for the receive that ends by that to take it back."""
        self._renew()

    def _renew(self) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.is_open = False
        self._working = False

    def check_closed(self) -> None:
        """PipeClosedError if this end is open already."""
        if self.is_open:
            raise PipeClosedError(f"{self._place} is open already; close it first")

    def check_open(self) -> None:
        """PipeClosedError if this end is not open."""
        if not self.is_open:
            raise PipeClosedError(f"{self._place} is not open, or was closed")

    def open(self) -> None:
        """From now on calls may wait; lock held."""
        self.woken = False
        self.is_open = True

    def close(self) -> bool:
        """Ends every call that waits, and returns once no thread polls; lock held.

        False if this end was not open.
        """
        if not self.is_open:
            return False
        self.is_open = False
        self.bell.ring()
        self.changed.notify_all()
        self.changed.wait_for(lambda: not self._working)
        return True

    def abandon_in_child(self) -> None:
        """For a forked child: the thread that held the lock may not exist there."""
        self._renew()

    def wake(self) -> None:
        """Has the calls that wait look again, a receive with `woken`; the lock must not be held."""
        if self.is_open:
            with self.lock:
                self.woken = True
                self.changed.notify_all()
            self.bell.ring()

    def wait(self, ready: Callable[[], bool], deadline: float | None) -> None:
        """Returns once ready() is true or the deadline (time.monotonic) is over; lock held.

        What has come already counts though the time is up. PipeClosedError once it is closed.
        """
        something_came = True
        while not self._is_ready(ready):
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

    def _is_ready(self, ready: Callable[[], bool]) -> bool:
        self.check_open()
        return ready()

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
