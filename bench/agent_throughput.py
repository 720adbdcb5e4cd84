"""A task and a result of the same size, through agent and TaskExchanger, for each pipe.

The figure is a ratio: a round trip over two copies of as many bytes between warm arrays, which is
the least that two processes without shared arrays can do. Both are medians of the same run; beside
them is the first round trip of that size, for which the pipe's files are new. The trainer is a
process, over MemoryPipe a thread: there the result goes into the journal itself, whose rows hold
less than 1 GB. CellPipe goes by a relay in the site's process, over mutual TLS. What the trainer
does is the task's name:

    read      looks at one value in each page, and sends a model of its own
    copy_out  copies the task into its model, and sends that
    in_place  adds one to every value of the task where it lies, and sends it back

Models have 10 arrays; one more has 1,000 of 10 KB. Memory is the most that was resident at each
end, and PSS of all processes at one time, in which pages that they share count once; also, in
models, how much more that is than before the first of them was sent: the least is 2, one each way.
It is looked at in round trips of their own.

    python bench/agent_throughput.py [--megabytes 1 10 100 1000 4000] [--json FILE]
        [--pipes LocalPipe FilePipe CellPipe MemoryPipe] [--repeats 7] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

import federant.client
from exchange_rig import Rig, over_cell_pipe, over_file_pipe, over_local_pipe, over_memory_pipe
from federant.client import FlareAgent
from federant.exchange import DXO, DataKind
from memory_rig import forget_most, most, proportional
from model_rig import ARRAYS, MB, Model, make_model, read, size_text
from report_rig import Row, add_options, report
from together_rig import MostTogether

WARM_UP = 2
LOOKS = 3
LOOK_SECONDS = 0.005
PIPES = ("LocalPipe", "FilePipe", "CellPipe", "MemoryPipe")
MANNERS = ("read", "copy_out", "in_place")
JOURNAL_BYTES = 900 * MB
SMALL_ARRAYS = 1000
SMALL_BYTES = 10_000


def train(agent: FlareAgent, size: int, arrays: int) -> None:
    own = make_model(size, arrays)
    for task in agent.tasks():
        received: Model = task.data.data
        result = own
        if task.task_name == "read":
            next(iter(own.values()))[0] = read(received)
        elif task.task_name == "copy_out":
            copy(received, own)
        else:
            result = received
            for name in received:
                received[name] += np.float32(1)
        agent.submit_result(DXO(DataKind.WEIGHTS, result))
        # A view that is kept keeps its file from being used again.
        del task, received, result


def copy(source: Model, target: Model) -> None:
    for name, values in source.items():
        np.copyto(target[name], values)


def milliseconds_of_two_copies(size: int, arrays: int, repeats: int) -> float:
    source, target = make_model(size, arrays), make_model(size, arrays)
    taken = []
    for _ in range(repeats + WARM_UP):
        began = time.perf_counter()
        copy(source, target)
        copy(target, source)
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken[WARM_UP:])


def opened(pipe: str, folder: Path, size: int, arrays: int) -> AbstractContextManager[Rig]:
    trainer = ("--trainer", "--size", str(size), "--arrays", str(arrays))
    if pipe == "MemoryPipe":
        return over_memory_pipe(folder, lambda agent: train(agent, size, arrays))
    if pipe == "FilePipe":
        return over_file_pipe(folder, __file__, *trainer)
    if pipe == "CellPipe":
        return over_cell_pipe(folder, __file__, *trainer)
    return over_local_pipe(folder, __file__, *trainer, spool_bytes=3 * size + (64 << 20))


class Measurement:
    """Round trips of one model through one pipe."""

    def __init__(self, rig: Rig, size: int, arrays: int, copies: float) -> None:
        self._rig = rig
        self._weights = make_model(size, arrays)
        self._size = size
        self._copies = copies
        rig.round_trip(DXO(DataKind.WEIGHTS, make_model(0)).to_shareable(), "read")
        self._before = MostTogether(os.getpid(), proportional).now()

    def row(self, manner: str, repeats: int) -> Row:
        pids = [os.getpid(), *([self._rig.trainer_pid] if self._rig.trainer_pid else [])]
        for pid in pids:
            forget_most(pid)
        taken = [self._milliseconds(manner) for _ in range(WARM_UP + repeats)]
        with MostTogether(os.getpid(), proportional, LOOK_SECONDS) as together:
            for _ in range(LOOKS):
                self._milliseconds(manner)
        steady = statistics.median(taken[WARM_UP:])
        return {
            "trainer": manner,
            "two copies ms": round(self._copies, 3),
            # Later manners find the files that the first one has made.
            "first ms": round(taken[0], 2) if manner == MANNERS[0] else None,
            "steady ms": round(steady, 2),
            "x two copies": round(steady / self._copies, 2),
            "site MB": most(pids[0]),
            "trainer MB": most(pids[1]) if len(pids) > 1 else None,
            "PSS MB": together.megabytes,
            "more, in models": round((together.megabytes - self._before) * MB / self._size, 1),
        }

    def _milliseconds(self, manner: str) -> float:
        body = DXO(DataKind.WEIGHTS, self._weights).to_shareable()
        began = time.perf_counter()
        self._rig.round_trip(body, manner)
        return 1000 * (time.perf_counter() - began)


def rows(
    models: list[tuple[int, int]], pipes: list[str], repeats: int, place: str | None
) -> Iterator[Row]:
    for size, arrays in models:
        copies = milliseconds_of_two_copies(size, arrays, repeats)
        for pipe in pipes:
            if pipe == "MemoryPipe" and size > JOURNAL_BYTES:
                continue
            with (
                tempfile.TemporaryDirectory(dir=place) as folder,
                opened(pipe, Path(folder), size, arrays) as rig,
            ):
                measurement = Measurement(rig, size, arrays, copies)
                model = f"{size_text(size)} in {arrays}"
                for manner in MANNERS:
                    yield {"model": model, "pipe": pipe, **measurement.row(manner, repeats)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--pipes", choices=PIPES, nargs="+", default=PIPES)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", help="where the spool lies; default: the temporary folder")
    parser.add_argument("--trainer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--arrays", type=int, help=argparse.SUPPRESS)
    add_options(parser)
    options = parser.parse_args()
    if options.trainer:
        train(federant.client.join(), options.size, options.arrays)
        return
    models = [(megabytes * MB, ARRAYS) for megabytes in options.megabytes]
    models.append((SMALL_ARRAYS * SMALL_BYTES, SMALL_ARRAYS))
    report(rows(models, options.pipes, options.repeats, options.folder), options.json)


if __name__ == "__main__":
    main()
