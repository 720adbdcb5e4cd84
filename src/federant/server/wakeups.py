"""Waking whoever waits for a change, by topic, from any thread; knows nothing of what changed.

A waiter reads the topic's version, looks at the store, and then waits for a later version: a
change between the look and the wait is noticed, so no wake-up is lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

JOBS_TOPIC: Final = "jobs"
"""A job was submitted, or is to stop: what a runner waits for."""

EVENTS_TOPIC: Final = "events"
"""Some job has new events, ended, or lost a site: what those wait for who hand its events on."""

_KEPT_TOPICS: Final = 10_000


def site_topic(site: str) -> str:
    """Something is due to the site: a job, a job's change of state, a task."""
    return f"site:{site}"


def job_topic(job_id: str) -> str:
    """The job's state, its sites' states, or its results changed."""
    return f"job:{job_id}"


def task_topic(task_id: str) -> str:
    """The task ended: it was cancelled, or its result was committed."""
    return f"task:{task_id}"


def events_topic(job_id: str) -> str:
    """The job has new events, or ended."""
    return f"events:{job_id}"


class Wakeups:
    """Versions of topics, and those who wait for the next one.  Thread-safe.

    Memory is bounded: a topic that was not notified for long is forgotten, which costs a waiter
    at most one look in vain.
    """

    def __init__(self, kept_topics: int = _KEPT_TOPICS) -> None:
        self._lock = threading.Lock()
        self._kept_topics = kept_topics
        self._clock = 0
        self._floor = 0  # the version of every topic that has been forgotten
        self._versions: OrderedDict[str, int] = OrderedDict()
        self._waiters: dict[str, set[Callable[[], None]]] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def version(self, topic: str) -> int:
        """The topic's version now; read it before you look at what the topic stands for."""
        with self._lock:
            return self._versions.get(topic, self._floor)

    def notify(self, topic: str) -> None:
        """Wake all who wait for the topic, and those who are about to."""
        with self._lock:
            self._clock += 1
            self._versions[topic] = self._clock
            self._versions.move_to_end(topic)
            if len(self._versions) > self._kept_topics:
                self._floor = self._versions.popitem(last=False)[1]
            waiters = list(self._waiters.get(topic, ()))
        for wake in waiters:
            wake()

    async def wait(self, topic: str, version: int, timeout: float) -> bool:
        """Wait until the topic is past ``version``, for at most ``timeout`` seconds.

        True when it is; False when time ran out or the wake-ups were closed.
        """
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:
                # The loop closed meanwhile: nobody waits there any more.
                return

        if not self._enter(topic, version, wake):
            return self._past(topic, version)
        try:
            async with asyncio.timeout(timeout):
                await woken.wait()
        except TimeoutError:
            return self._past(topic, version)
        finally:
            self._leave(topic, wake)
        return self._past(topic, version)

    def wait_blocking(self, topic: str, version: int, timeout: float) -> bool:
        """As ``wait``, for a thread."""
        woken = threading.Event()
        if not self._enter(topic, version, woken.set):
            return self._past(topic, version)
        try:
            woken.wait(timeout)
        finally:
            self._leave(topic, woken.set)
        return self._past(topic, version)

    def close(self) -> None:
        """Wake everyone, for good: from now on no wait lasts."""
        with self._lock:
            self._closed = True
            waiters = [wake for each in self._waiters.values() for wake in each]
        for wake in waiters:
            wake()

    def _past(self, topic: str, version: int) -> bool:
        return self.version(topic) > version

    def _enter(self, topic: str, version: int, wake: Callable[[], None]) -> bool:
        """Register unless there is nothing to wait for; checked and done under one lock."""
        with self._lock:
            if self._closed or self._versions.get(topic, self._floor) > version:
                return False
            self._waiters.setdefault(topic, set()).add(wake)
            return True

    def _leave(self, topic: str, wake: Callable[[], None]) -> None:
        with self._lock:
            waiters = self._waiters.get(topic)
            if waiters is None:
                return
            waiters.discard(wake)
            if not waiters:
                del self._waiters[topic]
