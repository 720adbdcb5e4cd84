"""Work on one part of a transfer while the next is received; knows nothing of the work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Behind:
    """Has ``act`` done to chunks, in order, in a thread of its own; used by one thread.

    Only one chunk at a time is with it, so two buffers that take turns are enough, and none is
    done after one at which ``act`` failed.  On leaving, the last one is done, also after an error.
    """

    def __init__(self, act: Callable[[memoryview], None]) -> None:
        self._act = act
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="federant-behind")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._settle()
        finally:
            self._thread.shutdown()

    def take(self, chunk: memoryview) -> None:
        """Have this one done as soon as the one before is; raises what that one failed with."""
        self._settle()
        self._under_way = self._thread.submit(self._act, chunk)

    def _settle(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()
