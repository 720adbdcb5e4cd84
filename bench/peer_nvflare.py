"""Round trips of a task and its result between agent and TaskExchanger: LocalPipe, and NVFLARE's.

NVFLARE 2.7.3 is the last release with a FlareAgent. Its FilePipe and CellPipe run in the same run
as our LocalPipe, one after the other, with the same models of 10 arrays and the same trainer: it
looks at one value in each page and sends a model of its own. NVFLARE's ends look for news at
intervals: once at those that it comes with, once each 1 ms; its get_task sleeps for 0.5 s between
two looks whatever is set. Files lie in the same folder, sockets are without TLS. Of each the median
counts, of ours over at least half a second. Memory is the most that each end had, with its own
model and with pages that it shares with the other end.

    python bench/peer_nvflare.py [--megabytes 0 1 100 1000] [--repeats 3] [--json FILE]

0 megabytes is a model of one float. NVFLARE gets an environment of its own, once, made with pip;
--environment names one that has it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import federant.client
from exchange_rig import over_local_pipe
from federant.client import FlareAgent
from federant.exchange import DXO, DataKind
from memory_rig import forget_most, most
from model_rig import MB, make_model, read, size_text
from peer_rig import NVFLARE, PeerMissing, PeerProcess, free_port, python_of
from report_rig import Row, add_options, report

WARM_UP = 2
LEAST_SECONDS = 0.5
SPARE_BYTES = 64 << 20
THEIRS = {
    f"NVFLARE {name}, {words}": (kind, poll)
    for words, poll in (("as it comes", "default"), ("looks each 1 ms", "0.001"))
    for name, kind in (("FilePipe", "file"), ("CellPipe", "cell"))
}


class Found(NamedTuple):
    seconds: float
    site_megabytes: float
    trainer_megabytes: float


def train(agent: FlareAgent, size: int) -> None:
    own = make_model(size)
    for task in agent.tasks():
        read(task.data.data)
        agent.submit_result(DXO(DataKind.WEIGHTS, own))
        del task  # one that is kept keeps its file from being used again


def ours(folder: Path, size: int, repeats: int) -> Found:
    model = make_model(size)
    spool = 3 * size + SPARE_BYTES
    trainer = ("--trainer", str(size))
    with over_local_pipe(folder, __file__, *trainer, spool_bytes=spool) as rig:
        forget_most(os.getpid())
        taken: list[float] = []
        while len(taken) < WARM_UP + repeats or sum(taken[WARM_UP:]) < LEAST_SECONDS:
            task = DXO(DataKind.WEIGHTS, model).to_shareable()
            began = time.perf_counter()
            rig.round_trip(task)
            taken.append(time.perf_counter() - began)
        return Found(statistics.median(taken[WARM_UP:]), most(os.getpid()), most(rig.trainer_pid))


def theirs(python: Path, kind: str, poll: str, folder: Path, size: int, repeats: int) -> Found:
    def start(role: str, *arguments: str) -> PeerProcess:
        script = Path(__file__).with_name("nvflare_rig.py")
        process = PeerProcess([python, script, role, *arguments], folder / f"{role}.log")
        return stack.enter_context(process)

    count = WARM_UP + repeats
    with ExitStack() as stack:
        place = str(folder / "pipe")
        if kind == "cell":
            place = f"tcp://127.0.0.1:{free_port()}"
            start("root", place).line()
        ends = (kind, place, poll, str(size))
        site = start("site", *ends, str(count))
        site.line()  # says that the trainer may start
        trainer = start("trainer", *ends)
        taken = [float(site.line()) for _ in range(count)]
        return Found(statistics.median(taken[WARM_UP:]), most(site.pid), most(trainer.pid))


def measure(python: Path | None, sizes: list[int], repeats: int) -> Iterator[Row]:
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="federant-bench-") as folder:
            found = {"federant LocalPipe": ours(Path(folder), size, repeats)}
        for name, (kind, poll) in THEIRS.items() if python else ():
            with tempfile.TemporaryDirectory(prefix="federant-bench-") as folder:
                found[name] = theirs(python, kind, poll, Path(folder), size, repeats)
        base = found["federant LocalPipe"]
        for name, each in found.items():
            yield {
                "model": size_text(size),
                "pipe": name,
                "ms a round trip": round(1000 * each.seconds, 3),
                "x LocalPipe": round(each.seconds / base.seconds, 1),
                "site MB": each.site_megabytes,
                "trainer MB": each.trainer_megabytes,
            }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, nargs="+", default=[0, 1, 100])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--environment", type=Path, help="a virtual environment that has NVFLARE")
    parser.add_argument("--trainer", type=int, help=argparse.SUPPRESS)
    add_options(parser)
    args = parser.parse_args()
    if args.trainer is not None:
        train(federant.client.join(), args.trainer)
        return
    python = None
    try:
        python = python_of(NVFLARE, args.environment)
    except PeerMissing as error:
        print(f"NVFLARE is left out: {error}")
    sizes = [int(megabytes * MB) for megabytes in args.megabytes]
    report(measure(python, sizes, args.repeats), args.json)


if __name__ == "__main__":
    main()
