"""What memory a process and all that it has started need together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import psutil

from memory_rig import resident


class MostTogether:
    """The most memory that a process and all that it has started had at one time.

    A context manager that looks again and again, with so many seconds between. ``count`` says how
    much a process has, by its id: resident memory, in which pages that several share count for
    each, or another.
    """

    def __init__(
        self, pid: int, count: Callable[[int], float] = resident, seconds: float = 0.1
    ) -> None:
        self.megabytes = 0.0
        self._process = psutil.Process(pid)
        self._count = count
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def now(self) -> float:
        family = [self._process, *self._process.children(recursive=True)]
        return sum(self._count(each.pid) for each in family)

    def _look(self) -> None:
        while not self._over.wait(self._seconds):
            # One that ends meanwhile has no files any more: the next look does without it.
            with suppress(psutil.NoSuchProcess, OSError, LookupError):
                self.megabytes = max(self.megabytes, self.now())
