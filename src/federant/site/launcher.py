"""Starting a trainer under its keeper, watching it, ending it, and finding it again.

A launch is a folder: what was started (`launch.json`), a lock that lives as long as the trainer
(`alive`), and how it ended (`exit.json`). So a client job that comes later knows all of it.
What a trainer does with tasks is not known here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from federant.client.meeting_point import TOKEN_VARIABLE
from federant.site import keeper, liveness
from federant.site.errors import LaunchError
from federant.site.private_file import write_whole

_log = logging.getLogger(__name__)

LAUNCH_VARIABLE = "FEDERANT_LAUNCH"
_TAIL_BYTES = 8192
_KILL_SECONDS = 2.0
"""How long the kernel and the keeper may take to end processes by SIGKILL."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a trainer ended: an exit status, or a signal, or why there is neither."""

    status: int | None = None
    signal: int | None = None
    error: str = ""
    asked: bool = False
    """Whether it was told to end."""
    left: tuple[str, ...] = ()
    """The commands of those of its processes that outlived it; the keeper ends them."""

    @property
    def clean(self) -> bool:
        return self.status == 0

    def __str__(self) -> str:
        if self.error:
            return self.error
        if self.signal is not None:
            return f"killed by signal {self.signal} ({_signal_name(self.signal)})"
        return f"exit status {self.status}"


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What to start: a list of arguments, never a shell string."""

    command: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    """Added to the environment of the calling process."""
    log: Path
    log_bytes: int = 10_000_000
    log_files: int = 3
    grace_seconds: float = 5.0
    token: str = ""
    """What the trainer shows to be let in; kept, so that a later client job knows it too."""


class Launch:
    """One start of a trainer; made by `start` or `find`. Thread-safe."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes] | None) -> None:
        record = json.loads((folder / "launch.json").read_text(encoding="utf-8"))
        self.id: str = record["id"]
        self.folder = folder
        self.log_path = Path(record["log"])
        self.token: str = record["token"]
        self.started: float = record["time"]
        """Unix seconds."""
        self.adopted = process is None
        self._grace: float = record["grace_seconds"]
        self._process = process
        self._exit: Exit | None = None
        self._ended = threading.Event()
        self._gone = threading.Event()
        self._watchers: list[Callable[[Launch], None]] = []
        self._lock = threading.Lock()
        self._keeper_fd: int | None = None
        if not liveness.is_held(self._alive):
            self._exit = _read_exit(folder)
        elif process is None and (pid := _keeper_pid(self._alive)):
            with contextlib.suppress(ProcessLookupError):
                self._keeper_fd = os.pidfd_open(pid)
        threading.Thread(target=self._watch, name=f"launch-{self.id}", daemon=True).start()

    @property
    def exit(self) -> Exit | None:
        """How the trainer ended; None while it lives."""
        return self._exit

    @property
    def keeper_pid(self) -> int | None:
        """The process under which all of the trainer's run; None if that is not known."""
        if self._process is not None:
            return self._process.pid
        return _keeper_pid(self._alive) if liveness.is_held(self._alive) else None

    def on_exit(self, callback: Callable[[Launch], None]) -> None:
        """Call back once, from a thread of the launch, when the trainer's process has ended."""
        with self._lock:
            if self._exit is None:
                self._watchers.append(callback)
                return
        callback(self)

    def wait(self, timeout: float | None = None) -> Exit | None:
        """Wait for the trainer's process to end; None if it has not within `timeout` seconds."""
        self._ended.wait(timeout)
        return self._exit

    def stop(self, grace: float | None = None, *, at_fault: bool = False) -> None:
        """End the trainer and all its descendants; returns when they are gone.

        SIGTERM first, SIGKILL after `grace` seconds (default: what the launch was given). Unless
        the trainer is at fault, its exit will say that it was asked to end.
        """
        grace = self._grace if grace is None else grace
        if not at_fault and self._exit is None:
            (self.folder / "asked").touch()
        self._signal_keeper(signal.SIGTERM)
        if not self._gone.wait(grace):
            self._signal_keeper(signal.SIGINT)
            self._gone.wait(_KILL_SECONDS)
        end_strays({self.id})

    def witness(self) -> None:
        """Note that a client job was there when it died, so that a later one knows."""
        (self.folder / "witnessed").touch()

    @property
    def witnessed(self) -> bool:
        return (self.folder / "witnessed").exists()

    def last_lines(self, count: int = 20) -> str:
        """The end of the trainer's output, at most 8 KiB of it."""
        return last_lines(self.log_path, count)

    def _signal_keeper(self, number: int) -> None:
        if self._gone.is_set():
            return
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                self._process.send_signal(number)
            elif liveness.is_held(self._alive) and (pid := _keeper_pid(self._alive)):
                os.kill(pid, number)

    @property
    def _alive(self) -> Path:
        return self.folder / "alive"

    def _watch(self) -> None:
        liveness.wait_until_free(self._alive)
        outcome = _read_exit(self.folder)
        with self._lock:
            self._exit = outcome
            watchers, self._watchers = self._watchers, []
        self._ended.set()
        _log.info("trainer ended launch=%s outcome=%s", self.id, outcome)
        for watcher in watchers:
            watcher(self)
        # The keeper ends with the last descendant.
        if self._process is not None:
            self._process.wait()
        elif self._keeper_fd is not None:
            ended = select.poll()
            ended.register(self._keeper_fd, select.POLLIN)
            ended.poll()
            os.close(self._keeper_fd)
        self._gone.set()


def start(launches: Path, spec: LaunchSpec) -> Launch:
    """Start a trainer; `launches` is the folder that holds the launches of one job.

    Raises LaunchError if the command or its working folder is not there.
    """
    if not spec.cwd.is_dir():
        raise LaunchError(
            f"cannot start the trainer: its working folder {spec.cwd} is not there; "
            "correct cwd in the site's file"
        )
    _check_program(spec)
    launch_id = secrets.token_hex(8)
    folder = launches / f"{time.time_ns()}-{launch_id}"
    folder.mkdir(parents=True, mode=0o700)
    record = {
        "id": launch_id,
        "command": list(spec.command),
        "log": str(spec.log),
        "grace_seconds": spec.grace_seconds,
        "token": spec.token,
        "time": time.time(),
    }
    lock = liveness.hold(folder / "alive")
    if lock is None:
        raise LaunchError(f"cannot start the trainer: {folder} is in use by another process")
    try:
        # The record comes after the lock and before the process: whoever finds it can trust it.
        write_whole(folder / "launch.json", json.dumps(record))
        process = _start_keeper(folder, spec, lock, launch_id)
    finally:
        os.close(lock)
    _log.info("trainer started launch=%s command=%s", launch_id, list(spec.command))
    _forget_ended(launches, but=folder)
    return Launch(folder, process)


def find(launches: Path) -> Launch | None:
    """The newest launch of the job, living or ended, from an earlier client job; None if none."""
    folders = sorted(launches.glob("*/launch.json"))
    return Launch(folders[-1].parent, None) if folders else None


def end_all(launches: Path, grace: float) -> None:
    """End whatever is left of any launch of a job; returns when it is gone."""
    ended = set()
    for record in launches.glob("*/launch.json"):
        if liveness.is_held(record.with_name("alive")):
            Launch(record.parent, None).stop(grace)
        else:
            ended.add(json.loads(record.read_text(encoding="utf-8"))["id"])
    if ended:
        end_strays(ended)


def end_strays(launch_ids: Collection[str]) -> None:
    """Kill what is left of these launches, also what a killed keeper could not end.

    Such processes are known by the launch's id in the environment that they inherited. Returns
    when they are gone.
    """
    strays = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(LAUNCH_VARIABLE) in launch_ids:
                process.kill()
                strays.append(process)
    psutil.wait_procs(strays, timeout=_KILL_SECONDS)


def last_lines(log: Path, count: int = 20) -> str:
    """The last `count` lines of a file, at most 8 KiB; empty if there is no file."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-count:])


def _forget_ended(launches: Path, *, but: Path) -> None:
    """Only the newest launch is ever asked for again."""
    for folder in launches.iterdir():
        if folder != but and not liveness.is_held(folder / "alive"):
            shutil.rmtree(folder, ignore_errors=True)


def _check_program(spec: LaunchSpec) -> None:
    program = spec.command[0]
    if "/" in program:
        looked_in = str(spec.cwd)
        found = shutil.which(spec.cwd / program)
    else:
        looked_in = {**os.environ, **spec.env}.get("PATH", os.defpath)
        found = shutil.which(program, path=looked_in)
    if found is None:
        raise LaunchError(
            f"cannot start the trainer: there is no program {program!r} that may be run "
            f"(looked in {looked_in}); correct command in the site's file"
        )


def _start_keeper(
    folder: Path, spec: LaunchSpec, lock: int, launch_id: str
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", str(Path(keeper.__file__))),
            *(str(folder), str(spec.log), str(spec.log_bytes), str(spec.log_files)),
            *(str(spec.grace_seconds), str(lock), "--", *spec.command),
        ],
        cwd=spec.cwd,
        env={
            **os.environ,
            # What a trainer printed before it was killed is worth having.
            "PYTHONUNBUFFERED": "1",
            **spec.env,
            LAUNCH_VARIABLE: launch_id,
            TOKEN_VARIABLE: spec.token,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[lock],
        start_new_session=True,
    )


def _keeper_pid(alive: Path) -> int | None:
    text = alive.read_text(encoding="ascii")
    return int(text) if text else None


def _read_exit(folder: Path) -> Exit:
    asked = (folder / "asked").exists()
    try:
        record = json.loads((folder / "exit.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Exit(error="its keeper was killed, so how it ended is not known", asked=asked)
    return Exit(
        record.get("status"),
        record.get("signal"),
        record.get("error", ""),
        asked,
        tuple(record.get("left", ())),
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
