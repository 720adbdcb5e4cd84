"""Threads of a client job without which it is of no use: when one fails, the client job fails."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Worker:
    """A daemon thread that tells when what it runs raised."""

    def __init__(
        self, name: str, run: Callable[[], None], on_failure: Callable[[BaseException], None]
    ) -> None:
        """`on_failure(error)` is called from the thread, as the last that it does."""
        self._run = run
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _work(self) -> None:
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001  handed on, whatever it is
            self._on_failure(error)
