"""A large task and a result of the same size, through agent and TaskExchanger, for each pipe.

The figure is a ratio: seconds a round trip over seconds for two copies of as many bytes between
warm arrays, which is the least that two processes without shared arrays can do. Both are medians
of the same run. The trainer is a process over LocalPipe and a thread over MemoryPipe, where the
result goes into the journal itself, whose rows hold less than 1 GB. What it does with the task:

    read      looks at one value in each page, and sends a model of its own
    copy out  copies the task into its model, and sends that
    in place  adds one to every value of the task where it lies, and sends it back

    python bench/agent_throughput.py [--megabytes 100 1000] [--repeats 7] [--folder DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

import federant.client
from exchange_rig import Rig, over_local_pipe, over_memory_pipe
from federant.client import FlareAgent
from federant.exchange import DXO, DataKind

WARM_UP = 2
PIPES = ("LocalPipe", "MemoryPipe")
MANNERS = ("read", "copy out", "in place")
JOURNAL_MEGABYTES = 900
VALUES_A_PAGE = 4096 // 4

Weights = npt.NDArray[np.float32]


def train(agent: FlareAgent, manner: str, length: int) -> None:
    own = np.ones(length, np.float32)
    for task in agent.tasks():
        received: Weights = task.data.data["w"]
        if manner == "read":
            own[0] = received[::VALUES_A_PAGE].sum()
        elif manner == "copy out":
            np.copyto(own, received)
        else:
            received += 1
        result = DXO(DataKind.WEIGHTS, {"w": received if manner == "in place" else own})
        agent.submit_result(result)
        # A view that is kept keeps its file from being used again.
        del task, received, result


def seconds_of_two_copies(length: int, repeats: int) -> float:
    source, target = np.ones(length, np.float32), np.ones(length, np.float32)
    taken = []
    for _ in range(repeats + WARM_UP):
        began = time.perf_counter()
        np.copyto(target, source)
        np.copyto(source, target)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[WARM_UP:])


def opened(
    pipe: str, folder: Path, manner: str, length: int
) -> contextlib.AbstractContextManager[Rig]:
    if pipe == "MemoryPipe":
        return over_memory_pipe(folder, lambda agent: train(agent, manner, length))
    trainer = ("--trainer", manner, "--length", str(length))
    spool_bytes = 3 * 4 * length + (64 << 20)
    return over_local_pipe(folder, __file__, *trainer, spool_bytes=spool_bytes)


def seconds_of_a_round_trip(rig: Rig, length: int, repeats: int) -> float:
    weights = np.ones(length, np.float32)
    taken = []
    for _ in range(repeats + WARM_UP):
        body = DXO(DataKind.WEIGHTS, {"w": weights}).to_shareable()
        began = time.perf_counter()
        rig.round_trip(body)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", help="where the spool lies; default: the temporary folder")
    parser.add_argument("--trainer", choices=MANNERS, help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trainer:
        train(federant.client.join(), options.trainer, options.length)
        return
    print(f"{'':<22}{'two copies':>12}" + "".join(f"{manner:>20}" for manner in MANNERS))
    for megabytes in options.megabytes:
        length = megabytes * 1_000_000 // 4
        base = seconds_of_two_copies(length, options.repeats)
        for pipe in PIPES:
            if pipe == "MemoryPipe" and megabytes > JOURNAL_MEGABYTES:
                continue
            cells = []
            for manner in MANNERS:
                with (
                    tempfile.TemporaryDirectory(dir=options.folder) as folder,
                    opened(pipe, Path(folder), manner, length) as rig,
                ):
                    seconds = seconds_of_a_round_trip(rig, length, options.repeats)
                cells.append(f"{seconds:.3f} s = {seconds / base:.2f} x")
            row = f"{pipe:<12}{megabytes:>7} MB{base:>10.3f} s"
            print(row + "".join(f"{cell:>20}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
