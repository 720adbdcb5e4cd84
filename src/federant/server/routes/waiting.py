"""How a request waits at the server: look, wait for a change, look again, until time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from federant.server.wakeups import Wakeups

_Found = TypeVar("_Found")


async def long_poll(
    wakeups: Wakeups,
    topic: str,
    wait_seconds: float,
    look: Callable[[], tuple[bool, _Found]],
) -> _Found:
    """What ``look`` finds, as soon as it says that it is worth an answer, or at the end.

    ``look`` runs in a thread.  The end is after ``wait_seconds``, or when the server stops.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        version = wakeups.version(topic)
        due, found = await run_in_threadpool(look)
        left = deadline - time.monotonic()
        if due or left <= 0 or wakeups.closed:
            return found
        await wakeups.wait(topic, version, left)
