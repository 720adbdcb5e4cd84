"""What tests of several pipes share: threads, open pipes, and an agent that is killed."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from federant.pipe import FilePipe, Pipe
from federant.testing.two_ends import LONG

AGENT = """
import importlib, json, os, signal, sys
import numpy as np
from federant.pipe import Message
made_by, arguments = json.loads(sys.argv[1])
module, _, name = made_by.rpartition(".")
pipe = getattr(importlib.import_module(module), name)(**arguments)
pipe.open("task")
while not pipe.send(Message.new_request("train", {"w": np.arange(100_000, dtype=np.float32)}), 0):
    pipe.receive(0.01)
if "fork" in sys.argv and os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""
"""Sends one large message, does not wait until it is read, forks perhaps, and is killed."""

AnyPipe = TypeVar("AnyPipe", bound=Pipe)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def opened() -> Iterator[Callable[[AnyPipe], AnyPipe]]:
    """opened(pipe) is the pipe, open on the channel task; it is closed at the end."""
    made: list[Pipe] = []

    def open_one(pipe: AnyPipe) -> AnyPipe:
        made.append(pipe)
        pipe.open("task")
        return pipe

    yield open_one
    for pipe in made:
        pipe.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where FilePipes meet; not there yet, like the folder above it."""
    return tmp_path / "shared" / "pipe"


@pytest.fixture
def file_pipe(opened: Callable[[FilePipe], FilePipe], root: Path) -> Callable[..., FilePipe]:
    """file_pipe(mode, **arguments) is an open FilePipe in that folder."""
    return lambda mode, **arguments: opened(FilePipe(mode, root, 0.02, **arguments))


@pytest.fixture
def killed_agent() -> Iterator[Callable[..., None]]:
    """killed_agent(job, *words) runs AGENT at the other end of that pipe, to its death."""
    started: list[subprocess.Popen[bytes]] = []

    def run(job: Pipe, *words: str) -> None:
        command = [sys.executable, "-c", AGENT, json.dumps(job.export("PEER")), *words]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        started.append(process)
        assert process.wait(LONG) == -signal.SIGKILL

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
