"""How much memory a trainer's processes take, and when it joined: looked at now and then."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import psutil

_LOOK_SECONDS = 0.1


class Watch:
    """A thread that looks at the processes under a keeper; as a context manager it ends."""

    def __init__(self, keeper: Callable[[], int | None], last_sign: Callable[[], float]) -> None:
        """``keeper`` gives the process above the trainer's; ``last_sign`` when it last spoke."""
        self.joined: float | None = None
        """When it was first heard, on the monotonic clock."""
        self._keeper = keeper
        self._last_sign = last_sign
        self._peak = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trial-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def take_peak(self) -> int:
        """The most bytes of memory (resident, all its processes) since the last call."""
        self._look()
        with self._lock:
            peak, self._peak = self._peak, 0
        return peak

    def _run(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        if self.joined is None and self._last_sign() > 0:
            self.joined = time.monotonic()
        keeper = self._keeper()
        if keeper is None:
            return
        size = 0
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(keeper).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    size += process.memory_info().rss
        with self._lock:
            self._peak = max(self._peak, size)
