"""The trainer's parent: keeps its output, its exit status and its descendants when the client job
has died and its successor is not there yet. Knows nothing of jobs, tasks or pipes.

Runs as a file of its own with the standard library only, so that it starts in milliseconds:

    keeper.py FOLDER LOG LOG_BYTES LOG_FILES GRACE LOCK_FD -- COMMAND ...

FOLDER gets `exit.json` when the trainer has ended; then the inherited lock LOCK_FD is let go,
which is how others learn of it. SIGTERM ends all descendants, after GRACE seconds by SIGKILL;
a second SIGTERM, or SIGINT, at once. The keeper ends when the last descendant has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_CHUNK = 65536
_KILL_AGAIN_SECONDS = 0.05
_COMMAND_CHARS = 200


def main(arguments: list[str]) -> int:
    folder, log, log_bytes, log_files, grace, lock_fd, _, *command = arguments
    keeper = _Keeper(
        Path(folder),
        _RotatingLog(Path(log), int(log_bytes), int(log_files)),
        float(grace),
        int(lock_fd),
    )
    return keeper.run(command)


class _RotatingLog:
    """Bytes appended to a file that is renamed to `.1`, `.2`, ... when it has reached its size."""

    def __init__(self, path: Path, limit: int, kept: int) -> None:
        self._path = path
        self._limit = limit
        self._kept = kept
        self._fd = self._open()
        self._size = os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        # A full disk costs the trainer its log, never its life.
        with contextlib.suppress(OSError):
            for start in range(0, len(data), self._limit):
                part = data[start : start + self._limit]
                if self._size and self._size + len(part) > self._limit:
                    self._rotate()
                self._size += os.write(self._fd, part)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _rotate(self) -> None:
        for number in range(self._kept, 0, -1):
            older = self._path if number == 1 else self._numbered(number - 1)
            with contextlib.suppress(FileNotFoundError):
                older.replace(self._numbered(number))
        os.close(self._fd)
        self._fd = self._open()
        self._size = 0

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class _Keeper:
    def __init__(self, folder: Path, log: _RotatingLog, grace: float, lock_fd: int) -> None:
        self._folder = folder
        self._log = log
        self._grace = grace
        self._lock_fd: int | None = lock_fd
        self._trainer = 0
        self._kill_at: float | None = None
        os.set_inheritable(lock_fd, False)
        # Who may only see the lock's file finds here whom to signal.
        os.pwrite(lock_fd, str(os.getpid()).encode(), 0)

    def run(self, command: list[str]) -> int:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        signals = _signals()
        output, trainer_output = os.pipe()
        os.set_blocking(output, False)
        try:
            self._trainer = _spawn(command, trainer_output)
        except OSError as error:
            self._report(error=f"cannot start {command[0]!r}: {error.strerror}")
            return 1
        os.close(trainer_output)
        self._watch(signals, output)
        return 0

    def _watch(self, signals: int, output: int) -> None:
        waiting = [signals, output]
        while True:
            ready, _, _ = select.select(waiting, [], [], self._seconds_to_kill())
            if output in ready and not self._pump(output):
                waiting.remove(output)
            if signals in ready:
                for number in os.read(signals, 4096):
                    if number in (signal.SIGTERM, signal.SIGINT):
                        self._end(at_once=number == signal.SIGINT)
                if not self._reap(output):
                    return
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                _send(signal.SIGKILL)
                self._kill_at = time.monotonic() + _KILL_AGAIN_SECONDS

    def _seconds_to_kill(self) -> float | None:
        if self._kill_at is None:
            return None
        return max(0.0, self._kill_at - time.monotonic())

    def _pump(self, output: int) -> bool:
        """Log what is there; False at the end of the stream."""
        try:
            data = os.read(output, _CHUNK)
        except BlockingIOError:
            return True
        if data:
            self._log.write(data)
        return bool(data)

    def _end(self, *, at_once: bool) -> None:
        if self._kill_at is None and not at_once:
            _send(signal.SIGTERM)
            self._kill_at = time.monotonic() + self._grace
        else:
            self._kill_at = time.monotonic()

    def _reap(self, output: int) -> bool:
        """Collect every child that has ended; False when none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            if pid == self._trainer:
                self._trainer_ended(status, output)

    def _trainer_ended(self, status: int, output: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(output, _CHUNK):
                self._log.write(data)
        code = os.waitstatus_to_exitcode(status)
        left = list(filter(None, map(_command, _descendants())))
        self._report(**({"signal": -code} if code < 0 else {"status": code}), left=left)
        # What it left behind belongs to nobody now.
        if self._kill_at is None:
            self._end(at_once=False)

    def _report(self, **outcome: object) -> None:
        aside = self._folder / "exit.json.new"
        aside.write_text(json.dumps({**outcome, "time": time.time()}))
        aside.replace(self._folder / "exit.json")
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def _signals() -> int:
    """A descriptor that becomes readable with each signal, and gives its number."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    # A handler, not SIG_IGN: a handler is not handed on to the trainer.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return readable


def _spawn(command: list[str], output: int) -> int:
    return os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE],
    )


def _send(number: signal.Signals) -> None:
    """Signal every descendant, whatever session it moved to: a subreaper stays root of them all."""
    for pid in _descendants():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _command(pid: int) -> str:
    """What a process runs; empty of one that has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode("utf-8", "replace").strip()[:_COMMAND_CHARS]


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text(errors="replace")
                # The name in parentheses may hold anything, also parentheses.
                parent = int(stat.rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    level = [os.getpid()]
    while level:
        level = [child for pid in level for child in children.get(pid, [])]
        found += level
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
