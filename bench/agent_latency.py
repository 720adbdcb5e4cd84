"""How soon the agent's ends hear of each other, and what it costs them to wait.

- The round trip of a task that holds one float, through agent and TaskExchanger, for each pipe;
  beside it that of 64 bytes over a bare Unix socket between two processes, which is what the
  machine allows.
- Processor time of both ends of a LocalPipe that have nothing to do.
- The time from SIGKILL of one end of a LocalPipe until the other knows. To the client job it is an
  exception; the agent looks for the client job that the site starts next, and raises one only after
  its heartbeat_timeout.

    python bench/agent_latency.py [--round-trips 2000] [--idle 30] [--kills 10] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import federant.client
from exchange_rig import PATIENCE, Rig, over_local_pipe, over_memory_pipe
from federant.client import FlareAgent
from federant.exchange import DXO, DataKind
from federant.pipe import LocalPipe, Mode, PeerGoneError
from report_rig import Row, add_options, report

WARM_UP = 200
BARE_BYTES = 64
SETTLE_SECONDS = 0.5
LOOK_SECONDS = 0.0001


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


def idle(folder: Path, seconds: float) -> dict[str, float]:
    """Of each end, the part of a core that it needs while both wait for a task, in percent."""
    with over_local_pipe(folder, __file__, "--trainer") as rig:
        through(rig, 1)
        time.sleep(SETTLE_SECONDS)
        ends = {"site": os.getpid(), "trainer": rig.trainer_pid}
        before = {end: processor_seconds(pid) for end, pid in ends.items()}
        time.sleep(seconds)
        return {
            end: 100 * (processor_seconds(pid) - before[end]) / seconds for end, pid in ends.items()
        }


def processor_seconds(pid: int) -> float:
    """Of all its threads, by the scheduler's count, which is in nanoseconds."""
    counts = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(count.split()[0]) for count in counts) / 1e9


def until_known(killed: Mode, count: int) -> list[float]:
    """Seconds from the death of that end of a pipe until the other one knows of it."""
    taken = []
    for _ in range(count):
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            pipe = LocalPipe(killed.opposite, folder, "bench")
            command = [sys.executable, __file__, "--other-end", folder, "--mode", killed]
            peer = stack.enter_context(subprocess.Popen(command))
            stack.callback(peer.kill)
            if killed is Mode.ACTIVE:
                stack.callback(pipe.close)
                pipe.open("task")
                wait = _until_exception
            else:
                stack.enter_context(FlareAgent(pipe))
                wait = _until_alone
            assert pipe.wait_peer(PATIENCE) is not None
            time.sleep(SETTLE_SECONDS)
            began = time.perf_counter()
            peer.kill()
            wait(pipe)
            taken.append(time.perf_counter() - began)
    return taken


def _until_exception(pipe: LocalPipe) -> None:
    with contextlib.suppress(PeerGoneError):
        while True:
            pipe.receive(PATIENCE)


def _until_alone(pipe: LocalPipe) -> None:
    while pipe.peer is not None:
        time.sleep(LOOK_SECONDS)


def be_the_other_end(mode: str, folder: str) -> None:
    pipe = LocalPipe(Mode(mode), folder, "bench")
    pipe.open("task")
    while True:
        pipe.receive(PATIENCE)


def row(what: str, taken: list[float] | None = None, percent: float | None = None) -> Row:
    median, tail = np.percentile(taken, [50, 99]) * 1e6 if taken else (None, None)
    return {
        "what": what,
        "median us": None if median is None else round(float(median)),
        "99th percentile": None if tail is None else round(float(tail)),
        "% of a core": None if percent is None else round(percent, 4),
    }


def measure(count: int, seconds: float, kills: int) -> Iterator[Row]:
    yield row("round trip, bare Unix socket", over_bare_socket(count))
    for name in ("LocalPipe", "MemoryPipe"):
        with tempfile.TemporaryDirectory() as folder:
            rig = (
                over_local_pipe(Path(folder), __file__, "--trainer")
                if name == "LocalPipe"
                else over_memory_pipe(Path(folder), send_back)
            )
            with rig as opened:
                yield row(f"round trip, {name}", through(opened, count))
    with tempfile.TemporaryDirectory() as folder:
        for end, percent in idle(Path(folder), seconds).items():
            yield row(f"idle for {seconds:g} s, {end}", percent=percent)
    yield row("trainer killed, client job's exception", until_known(Mode.ACTIVE, kills))
    yield row("client job killed, agent looks for the next", until_known(Mode.PASSIVE, kills))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--round-trips", type=int, default=2000)
    parser.add_argument("--idle", type=float, default=30.0, help="seconds")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--echo", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--trainer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--other-end", help=argparse.SUPPRESS)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    add_options(parser)
    options = parser.parse_args()
    if options.echo is not None:
        echo(options.echo)
    elif options.trainer:
        send_back(federant.client.join())
    elif options.other_end:
        be_the_other_end(options.mode, options.other_end)
    else:
        report(measure(options.round_trips, options.idle, options.kills), options.json)


if __name__ == "__main__":
    main()
