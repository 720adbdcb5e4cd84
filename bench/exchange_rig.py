"""What both agent benchmarks need: a TaskExchanger here, a trainer's agent at its other end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from federant.client import FlareAgent
from federant.client.meeting_point import PIPE_VARIABLE, TOKEN_VARIABLE
from federant.exchange import Shareable
from federant.pipe import LocalPipe, MemoryPipe, Mode, Pipe
from federant.site.exchanger import ExchangeLimits, SiteTask, TaskExchanger
from federant.site.journal import Journal, StoredResult
from federant.site.results import StoredFrame

PATIENCE = 60.0  # seconds until a step that hangs ends the benchmark

Work = Callable[[FlareAgent], None]


class OwnersTrainer:
    """A trainer that somebody else starts: the exchanger only sees its pipe."""

    external = True
    exit = None
    one_task = False
    replaceable = False
    many_crashed = False

    def ensure(self) -> None: ...

    def retire(self) -> None: ...

    def kill(self) -> None: ...

    def last_words(self) -> str:
        return ""


class Rig:
    """Hands out tasks one after the other and takes each result as a client job does: journaled,
    accepted, and its file given back."""

    trainer_pid: int
    """Of the trainer, where it is a process."""

    def __init__(self, pipe: Pipe, folder: Path) -> None:
        self._journal = Journal(folder / "journal.db")
        self._exchanger = TaskExchanger(
            pipe,
            self._journal,
            OwnersTrainer(),
            job_id="bench",
            site_name="bench",
            on_result=self._on_result,
            on_status=lambda *_: None,
            limits=ExchangeLimits(peer_read_timeout=PATIENCE, task_wait_time=PATIENCE),
        )
        self._exchanger.start()
        self._count = 0

    def round_trip(self, body: Shareable) -> StoredResult:
        """One task, from its sending to its accepted result."""
        self._count += 1
        result = self._exchanger.execute(SiteTask(f"task-{self._count}", 1, "train"), lambda: body)
        if result is None or result.rc != "OK":
            raise RuntimeError(f"task {self._count} failed: {result}")
        return result

    def _on_result(self, result: StoredResult, frame: StoredFrame | None) -> None:
        if frame is not None:
            frame.release()
        self._journal.confirmed(result)

    def close(self) -> None:
        self._exchanger.stop()
        self._exchanger.close()
        self._journal.close()


@contextmanager
def over_local_pipe(folder: Path, script: str, *arguments: str, **options: Any) -> Iterator[Rig]:
    """The trainer is a process: this script with these arguments, which calls federant.join()."""
    pipe_folder = folder / "pipe"
    rig = Rig(LocalPipe(Mode.PASSIVE, pipe_folder, "bench", defer=True, **options), folder)
    trainer = subprocess.Popen(
        [sys.executable, script, *arguments],
        env={**os.environ, PIPE_VARIABLE: str(pipe_folder), TOKEN_VARIABLE: "bench"},
    )
    rig.trainer_pid = trainer.pid
    try:
        yield rig
    finally:
        rig.close()
        trainer.wait(PATIENCE)


@contextmanager
def over_memory_pipe(folder: Path, work: Work) -> Iterator[Rig]:
    """The trainer is a thread."""
    rig = Rig(MemoryPipe("bench", Mode.PASSIVE), folder)
    agent = FlareAgent(MemoryPipe("bench"))
    agent.start()
    thread = threading.Thread(target=work, args=(agent,), name="trainer")
    thread.start()
    try:
        yield rig
    finally:
        rig.close()
        thread.join(PATIENCE)
        agent.stop()
