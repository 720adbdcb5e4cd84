"""The cell process of a CellPipe, as its owner sees it: started, heard, started again; no messages.

What runs in it is federant.cellnet.cell, which is not imported here: a trainer needs no network
library.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

from federant.pipe.errors import PipeBusyError, PipeError, PipeRefusedError

logger = logging.getLogger(__name__)

_MODULE: Final = "federant.cellnet.cell"
_AGAIN_SECONDS: Final = 0.2
_MOST_RESTARTS: Final = 50


_NEEDED: Final = ("blake3", "pydantic", "urllib3", "websockets")


def require_packages() -> None:
    """ModuleNotFoundError if a cell could not run here."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"what carries a pipe to another machine needs {', '.join(missing)}, which "
            f"{sys.executable} does not have; pip install 'federant[cell]'"
        )


class CellProcess:
    """One cell for one open pipe. Thread-safe."""

    def __init__(self, order: dict[str, object], on_end: Callable[[], None]) -> None:
        """`order` is what the cell is told. `on_end()` is called in a thread of this class, when
        `error` has been set because the cell is not let in, or cannot be kept alive."""
        self._order = order
        self._on_end = on_end
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self._swept = 0
        self._sweeps = 0
        self.joined = False
        """Whether the relay has let the cell in."""
        self.trouble = ""
        """Why the relay could not be reached, the last time."""
        self.resent_bytes = 0
        """What the cells of this pipe sent again after cuts."""
        self.error: PipeError | None = None
        """Why there is no cell any more."""
        self._process: subprocess.Popen[bytes] | None = self._new()
        threading.Thread(target=self._listen, name="cell-listener", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process's number; another one after it was started again."""
        process = self._process
        return 0 if process is None else process.pid

    def wait_joined(self, seconds: float) -> bool:
        """Whether the relay lets the cell in in time, or cannot be reached (see `trouble`).

        Raises `error`.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self.joined or bool(self.trouble) or self.error is not None or self._closed,
                seconds,
            )
            if self.error is not None:
                raise self.error
            return self.joined

    def wait_reached(self, seconds: float) -> str:
        """Waits until the relay has let the cell in: empty; else `trouble`, when time is over.

        Raises `error`.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self.joined or self.error is not None or self._closed, seconds
            )
            if self.error is not None:
                raise self.error
            return "" if self.joined else self.trouble or "its cell says nothing"

    def sweep(self, seconds: float) -> bool:
        """Waits until all that the other end has sent before this call has come here."""
        with self._changed:
            self._sweeps += 1
            number = self._sweeps
            _say(self._process, f"sweep {number}\n")
            return self._changed.wait_for(
                lambda: self._swept >= number or self._closed or self.error is not None, seconds
            )

    def close(self) -> None:
        """Lets the cell hand over what is left, and end; does not wait for that."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            process = self._process
            if process is not None and process.stdin is not None:
                process.stdin.close()

    def abandon_in_child(self) -> None:
        """In a forked child: the parent's cell is none of its business."""
        self._closed = True
        process, self._process = self._process, None
        if process is not None:
            process.returncode = 0  # else its end would be waited for here

    def _new(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            # -P: no folder of the trainer's comes before the installed modules.
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        _say(process, json.dumps({**self._order, "pid": os.getpid()}) + "\n")
        return process

    def _listen(self) -> None:
        restarts = 0
        while (process := self._process) is not None:
            status = self._hear_out(process)
            with self._changed:
                self._swept = self._sweeps
                if self.error is None and restarts == _MOST_RESTARTS:
                    self.error = PipeRefusedError(
                        f"the cell process has ended {restarts + 1} times, the last time with "
                        f"status {status}; its messages are on this process's standard error"
                    )
                self._changed.notify_all()
                if self.error is not None or self._changed.wait_for(
                    self._is_closed, _AGAIN_SECONDS * restarts
                ):
                    break
                restarts += 1
                logger.warning("cell ended status=%d restart=%d", status, restarts)
                self._process = self._new()
        self._on_end()

    def _is_closed(self) -> bool:
        return self._closed

    def _hear_out(self, process: subprocess.Popen[bytes]) -> int:
        """Listens until the process has ended; its status."""
        if process.stdout is not None:
            for line in process.stdout:
                self._hear(line)
            process.stdout.close()
        status = process.wait()
        with self._changed:
            if process.stdin is not None:
                process.stdin.close()
        return status

    def _hear(self, line: bytes) -> None:
        told = json.loads(line)
        with self._changed:
            match told["event"]:
                case "joined":
                    self.joined, self.trouble = True, ""
                case "unreachable":
                    self.joined, self.trouble = False, told["text"]
                case "resent":
                    self.resent_bytes += told["bytes"]
                case "broken":
                    logger.warning("peer dropped reason=%s", told["text"])
                case "swept":
                    self._swept = max(self._swept, told["number"])
                case "refused":
                    busy = told["code"] == "busy"
                    self.error = (PipeBusyError if busy else PipeRefusedError)(told["text"])
            self._changed.notify_all()


def _say(process: subprocess.Popen[bytes] | None, line: str) -> None:
    if process is not None and process.stdin is not None and not process.stdin.closed:
        try:
            process.stdin.write(line.encode())
        except OSError:
            logger.debug("the cell is gone and was not told something")
