"""Waking by topic: nothing is lost between the look and the wait, and memory is bounded."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from federant.server.wakeups import Wakeups

LONG = 60.0


def test_a_change_before_the_wait_is_not_lost(wakeups: Wakeups) -> None:
    version = wakeups.version("a")
    wakeups.notify("a")
    assert wakeups.wait_blocking("a", version, LONG)
    assert asyncio.run(wakeups.wait("a", version, LONG))


def test_without_a_change_the_wait_ends_with_its_time(wakeups: Wakeups) -> None:
    wakeups.notify("b")
    assert not wakeups.wait_blocking("a", wakeups.version("a"), 0.01)
    assert not asyncio.run(wakeups.wait("a", wakeups.version("a"), 0.01))


def test_a_change_wakes_a_waiting_thread_and_a_waiting_coroutine(wakeups: Wakeups) -> None:
    version = wakeups.version("a")
    woken: list[bool] = []
    threads = [
        threading.Thread(target=lambda: woken.append(wakeups.wait_blocking("a", version, LONG))),
        threading.Thread(
            target=lambda: woken.append(asyncio.run(wakeups.wait("a", version, LONG)))
        ),
    ]
    for thread in threads:
        thread.start()
    wakeups.notify("a")
    for thread in threads:
        thread.join(LONG)
    assert woken == [True, True]


def test_no_change_of_many_is_lost_between_looking_and_waiting(wakeups: Wakeups) -> None:
    """A counter is raised as fast as it goes; who looks and waits always comes to see its end."""
    count, last = 0, 500

    def raise_counter() -> None:
        nonlocal count
        for _ in range(last):
            count += 1
            wakeups.notify("counter")

    def follow() -> int:
        while True:
            version = wakeups.version("counter")
            seen = count
            if seen == last or not wakeups.wait_blocking("counter", version, LONG):
                return seen

    async def follow_async() -> int:
        while True:
            version = wakeups.version("counter")
            seen = count
            if seen == last or not await wakeups.wait("counter", version, LONG):
                return seen

    seen: list[int] = []
    followers = [threading.Thread(target=lambda: seen.append(follow())) for _ in range(3)]
    followers.append(threading.Thread(target=lambda: seen.append(asyncio.run(follow_async()))))
    for follower in followers:
        follower.start()
    raise_counter()
    for follower in followers:
        follower.join(LONG)
    assert seen == [last] * 4


def test_closing_wakes_all_and_no_wait_lasts_afterwards(wakeups: Wakeups) -> None:
    version = wakeups.version("a")
    answers: list[bool] = []
    thread = threading.Thread(
        target=lambda: answers.append(wakeups.wait_blocking("a", version, LONG))
    )
    thread.start()
    wakeups.close()
    thread.join(LONG)
    assert answers == [False]
    assert not asyncio.run(wakeups.wait("a", version, LONG))


def test_forgotten_topics_cost_a_look_in_vain_and_lose_nothing() -> None:
    wakeups = Wakeups(kept_topics=3)
    waiting_for = wakeups.version("first")
    wakeups.notify("first")
    for number in range(10):
        wakeups.notify(f"topic-{number}")
    assert wakeups.wait_blocking("first", waiting_for, LONG)
    assert not wakeups.wait_blocking("first", wakeups.version("first"), 0.01)


def test_a_waiter_whose_loop_is_gone_does_no_harm(wakeups: Wakeups) -> None:
    async def give_up() -> None:
        waiting = asyncio.create_task(wakeups.wait("a", wakeups.version("a"), LONG))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(give_up())
    wakeups.notify("a")


def test_many_waiters_are_all_woken(
    wakeups: Wakeups, in_threads: Callable[[int, Callable[[int], Any]], list[Any]]
) -> None:
    version = wakeups.version("a")

    def act(number: int) -> bool:
        if number == 0:
            wakeups.notify("a")
        return wakeups.wait_blocking("a", version, LONG)

    assert in_threads(8, act) == [True] * 8
