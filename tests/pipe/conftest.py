"""What tests of several pipes share: threads, open pipes, and an agent that is killed."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from federant.pipe import Message, Pipe

LONG = 20.0

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
def pass_on(pool: ThreadPoolExecutor) -> Callable[[Pipe, Pipe, Message], Message]:
    """pass_on(sender, receiver, message) is the message as it arrived, once its sender knows."""

    def pass_one(sender: Pipe, receiver: Pipe, message: Message) -> Message:
        sent = pool.submit(sender.send, message, LONG)
        received = receiver.receive(LONG)
        assert sent.result(LONG) is True
        assert received is not None
        return received

    return pass_one


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
