"""What memory a process needs, in megabytes, from Linux's /proc."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Self

import psutil

_LOOK_SECONDS = 0.1


def most(pid: int) -> float:
    """The most resident memory that it has had, pages that it shares with others included."""
    return _megabytes(Path(f"/proc/{pid}/status"), "VmHWM")


def forget_most(pid: int) -> None:
    """From now on ``most`` counts from what it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def proportional(pid: int) -> float:
    """Resident memory of now; of a page that several processes share each has its part."""
    return _megabytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


class MostTogether:
    """The most resident memory that a process and those that it has started had at one time.

    A context manager that looks ten times a second; pages that they share count for each.
    """

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            try:
                family = [self._process, *self._process.children(recursive=True)]
                together = sum(each.memory_info().rss for each in family)
            except psutil.NoSuchProcess:  # one that has just ended: the next look does without it
                continue
            self.megabytes = max(self.megabytes, round(together / 1e6))


def _megabytes(file: Path, name: str) -> float:
    for line in file.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) * 1024 / 1e6)
    raise LookupError(f"{file} has no line {name}")
