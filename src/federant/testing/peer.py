"""What a PeerProcess runs: it makes a pipe from what Pipe.export says, and does as it is told.

Orders come on the standard input, one a line: "send N" sends N messages without waiting, "tell N"
sends N messages and waits until each is read, "take N" receives N messages, "echo N" receives N
messages and sends each back, "close" closes the pipe.
"""

import importlib
import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from federant.pipe import Message, Pipe

TOPIC: Final = "from_the_peer"
"""The topic of the messages that a peer makes; their data is {"number": 0, 1, ..., "values": ...},
an array that is large enough to be worth a file."""

PATIENCE: Final = 60.0
"""Seconds that a peer waits for a message that was announced to it."""


def _make_pipe(made_by: str, arguments: dict[str, object]) -> Pipe:
    module, _, name = made_by.rpartition(".")
    factory: Callable[..., Pipe] = getattr(importlib.import_module(module), name)
    return factory(**arguments)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _send(pipe: Pipe, count: int, timeout: float) -> None:
    for number in range(count):
        msg = Message.new_request(TOPIC, {"number": number, "values": np.full(20_000, number)})
        if not pipe.send(msg, timeout):
            raise RuntimeError(f"message {number} was not handed over: no peer")


def _receive_announced(pipe: Pipe) -> Message:
    deadline = time.monotonic() + PATIENCE
    while (msg := pipe.receive(1.0)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no message came within {PATIENCE} s")
    return msg


def _serve(order: dict[str, object]) -> None:
    arguments = order["arguments"]
    assert isinstance(arguments, dict)
    pipe = _make_pipe(str(order["class"]), arguments)
    pipe.open(str(order["channel"]))
    _say("open")
    for line in sys.stdin:
        match line.split():
            case ["send", count]:
                _send(pipe, int(count), 0)
                _say("sent")
            case ["tell", count]:
                _send(pipe, int(count), PATIENCE)
                _say("told")
            case ["take", count]:
                for _ in range(int(count)):
                    _receive_announced(pipe)
            case ["echo", count]:
                for _ in range(int(count)):
                    msg = _receive_announced(pipe)
                    pipe.send(Message.new_reply(msg.topic, msg.data, msg.msg_id), PATIENCE)
            case ["close"]:
                pipe.close()
                _say("closed")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _serve(json.loads(sys.argv[1]))
