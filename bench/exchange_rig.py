"""What the agent's benchmarks need: a TaskExchanger here, a trainer's agent at its other end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from federant.cellnet.admission import Admission
from federant.cellnet.relay import RelayThread
from federant.client import FlareAgent
from federant.client.meeting_point import (
    KIND_VARIABLE,
    KIT_VARIABLE,
    PIPE_VARIABLE,
    TOKEN_VARIABLE,
)
from federant.exchange import Shareable
from federant.pipe import CellPipe, FilePipe, LocalPipe, MemoryPipe, Mode, Pipe, PipeKind
from federant.provision import make_federation
from federant.site.exchanger import ExchangeLimits, SiteTask, TaskExchanger
from federant.site.journal import Journal, StoredResult
from federant.site.results import StoredFrame

PATIENCE = 60.0  # seconds until a step that hangs ends the benchmark

SITE = "site-1"
AGENT = "gpu-7"

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

    trainer_pid = 0
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

    def round_trip(self, body: Shareable, name: str = "train") -> StoredResult:
        """One task, from its sending to its accepted result."""
        self._count += 1
        task = SiteTask(f"task-{self._count}", 1, name)
        result = self._exchanger.execute(task, lambda: body)
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
    place = folder / "pipe"
    pipe = LocalPipe(Mode.PASSIVE, place, "bench", defer=True, **options)
    there = {PIPE_VARIABLE: str(place), TOKEN_VARIABLE: "bench"}
    with _trainer_process(Rig(pipe, folder), there, script, *arguments) as rig:
        yield rig


@contextmanager
def over_file_pipe(folder: Path, script: str, *arguments: str) -> Iterator[Rig]:
    place = folder / "pipe"
    there = {PIPE_VARIABLE: str(place), KIND_VARIABLE: PipeKind.FILE}
    rig = Rig(FilePipe(Mode.PASSIVE, place, defer=True), folder)
    with _trainer_process(rig, there, script, *arguments):
        yield rig


@contextmanager
def over_cell_pipe(folder: Path, script: str, *arguments: str) -> Iterator[Rig]:
    """By a relay in this process, over mutual TLS; a cell process stands beside each end."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"https://127.0.0.1:{port}"
    kits = make_federation(
        folder / "kits", sites=[SITE], agents=[(SITE, AGENT)], relays={SITE: url}
    )
    admission = Admission(SITE, kits.sites[SITE])
    relay = RelayThread(SITE, "127.0.0.1", port, admission, admission.context())
    try:
        pipe = CellPipe(
            Mode.PASSIVE,
            SITE,
            AGENT,
            url,
            workspace_dir=str(kits.sites[SITE].folder),
            root_path=folder / "cell",
            defer=True,
        )
        there = {KIT_VARIABLE: str(kits.agents[f"{SITE}.{AGENT}"].folder)}
        with _trainer_process(Rig(pipe, folder), there, script, *arguments) as rig:
            yield rig
    finally:
        relay.stop()


@contextmanager
def _trainer_process(
    rig: Rig, there: Mapping[str, str], script: str, *arguments: str
) -> Iterator[Rig]:
    trainer = subprocess.Popen([sys.executable, script, *arguments], env={**os.environ, **there})
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
