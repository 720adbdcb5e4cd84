"""The process that a cell works for: whether it lives, and what it says; the pipe is elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
import select
import sys
from collections.abc import Callable
from typing import Final

_SWEEP: Final = "sweep"


class OwnerProcess:
    """Known by a pidfd, so that its death is seen at once, whoever holds its files open."""

    def __init__(self, pid: int) -> None:
        """ProcessLookupError if it is gone already."""
        self._pidfd = os.pidfd_open(pid)
        self._said = bytearray()
        self._gone = os.getppid() != pid  # its number may be another's by now
        os.set_blocking(sys.stdin.fileno(), False)

    def is_gone(self) -> bool:
        """Whether it has died or closed its pipe; asks the kernel, not what was heard of it."""
        if not self._gone:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            self._gone = bool(poll.poll(0))
        if not self._gone:
            self._hear()
        return self._gone

    def watch(self, on_gone: Callable[[], None], on_sweep: Callable[[int], None]) -> None:
        """Calls back in the running event loop."""
        loop = asyncio.get_running_loop()
        stdin = sys.stdin.fileno()

        def look() -> None:
            for line in self._hear():
                word, _, number = line.partition(" ")
                if word == _SWEEP and number.isdecimal():
                    on_sweep(int(number))
            if self.is_gone():
                loop.remove_reader(stdin)
                loop.remove_reader(self._pidfd)
                on_gone()

        loop.add_reader(stdin, look)
        loop.add_reader(self._pidfd, look)

    def tell(self, event: str, **more: str | int) -> None:
        """One line on the standard output; nobody may be there to read it."""
        try:
            sys.stdout.write(json.dumps({"event": event, **more}) + "\n")
            sys.stdout.flush()
        except OSError:
            self._gone = True

    def _hear(self) -> list[str]:
        """The whole lines that have come; the end of the stream is the pipe's end."""
        try:
            while data := os.read(sys.stdin.fileno(), 4096):
                self._said += data
            self._gone = True
        except BlockingIOError:
            pass
        *lines, rest = self._said.decode(errors="replace").split("\n")
        self._said = bytearray(rest.encode())
        return lines
