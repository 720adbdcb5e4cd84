"""Round trip of a task that holds one float, through agent and TaskExchanger, for each pipe.

Beside it, in the same run, the round trip of 64 bytes over a bare Unix socket between two
processes: what the machine allows.

    python bench/agent_latency.py [--round-trips 2000]
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import federant.client
from exchange_rig import Rig, over_local_pipe, over_memory_pipe
from federant.client import FlareAgent
from federant.exchange import DXO, DataKind

WARM_UP = 200
BARE_BYTES = 64


def send_back(agent: FlareAgent) -> None:
    """The trainer: every task is its own result."""
    for task in agent.tasks():
        agent.submit_result(task.data)


def seconds_each(call: Callable[[], object], count: int) -> list[float]:
    for _ in range(WARM_UP):
        call()
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


def through(rig: Rig, count: int) -> list[float]:
    value = np.zeros(1)

    def round_trip() -> None:
        rig.round_trip(DXO(DataKind.WEIGHTS, {"w": value}).to_shareable())

    return seconds_each(round_trip, count)


def over_bare_socket(count: int) -> list[float]:
    ours, theirs = socket.socketpair()
    echo = subprocess.Popen(
        [sys.executable, __file__, "--echo", str(theirs.fileno())], pass_fds=[theirs.fileno()]
    )
    theirs.close()
    message = bytes(BARE_BYTES)

    def round_trip() -> None:
        ours.sendall(message)
        ours.recv(BARE_BYTES, socket.MSG_WAITALL)

    with ours:
        taken = seconds_each(round_trip, count)
    echo.wait()
    return taken


def echo(descriptor: int) -> None:
    with socket.socket(fileno=descriptor) as peer:
        while message := peer.recv(BARE_BYTES, socket.MSG_WAITALL):
            peer.sendall(message)


def show(name: str, taken: list[float]) -> None:
    median, tail = np.percentile(taken, [50, 99]) * 1e6
    print(f"{name:<28}{median:>12.0f}{tail:>12.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--round-trips", type=int, default=2000)
    parser.add_argument("--echo", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--trainer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.echo is not None:
        echo(options.echo)
        return
    if options.trainer:
        send_back(federant.client.join())
        return
    count = options.round_trips
    print(f"{'microseconds':<28}{'median':>12}{'p99':>12}   ({count} round trips)")
    show("bare Unix socket", over_bare_socket(count))
    for name in ("LocalPipe", "MemoryPipe"):
        with tempfile.TemporaryDirectory() as folder:
            rig = (
                over_local_pipe(Path(folder), __file__, "--trainer")
                if name == "LocalPipe"
                else over_memory_pipe(Path(folder), send_back)
            )
            with rig as opened:
                show(name, through(opened, count))


if __name__ == "__main__":
    main()
