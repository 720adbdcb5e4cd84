"""Work on the chunks of a transfer while its next ones are received; knows nothing of the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final

_MOST_CHUNKS: Final = 4
"""So many wait at most: whoever receives is held up, and with it who sends, not the memory."""


class Behind:
    """Has ``act`` done to each chunk, in order, in a thread of its own; used by one thread.

    On leaving all that was taken is done, also after an error; an error of ``act`` is raised by
    ``take`` or on leaving, and nothing more is done then.  One chunk alone needs no thread.
    """

    def __init__(self, act: Callable[[bytes], None]) -> None:
        self._act = act
        self._last: bytes | None = None
        self._under_way: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="federant-behind")
        self._failed = False

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._settle(0)
            if self._last is not None and not self._failed:
                self._act(self._last)
        finally:
            self._thread.shutdown(cancel_futures=True)

    def take(self, chunk: bytes) -> None:
        """Have this one done; waits while too many are."""
        last, self._last = self._last, chunk
        if last is not None:
            self._settle(_MOST_CHUNKS - 1)
            self._under_way.append(self._thread.submit(self._act_unless_failed, last))

    def _settle(self, most: int) -> None:
        """Wait until no more than that are under way."""
        while len(self._under_way) > most:
            self._under_way.popleft().result()

    def _act_unless_failed(self, chunk: bytes) -> None:
        if self._failed:
            return
        try:
            self._act(chunk)
        except BaseException:
            self._failed = True
            raise
