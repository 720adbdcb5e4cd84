"""What memory a process needs, in megabytes, from Linux's /proc."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil


def most(pid: int) -> float:
    """The most resident memory that it has had, pages that it shares with others included."""
    return _megabytes(Path(f"/proc/{pid}/status"), "VmHWM")


def forget_most(pid: int) -> None:
    """From now on ``most`` counts from what it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def resident(pid: int) -> float:
    """Resident memory of now."""
    return _megabytes(Path(f"/proc/{pid}/status"), "VmRSS")


def proportional(pid: int) -> float:
    """Resident memory of now; of a page that several processes share each has its part."""
    return _megabytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


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


def _megabytes(file: Path, name: str) -> float:
    for line in file.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) * 1024 / 1e6)
    raise LookupError(f"{file} has no line {name}")
