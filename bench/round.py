"""Seconds a round of federated averaging and the server's memory, through federant and Flower.

Server, sites, client jobs and trainers are real processes on this machine; a trainer adds one to
the model. The time is that from one finished round to the next, the first left out. federant speaks
mutual TLS and keeps each round's model on its disk; beside it, in the same run, Flower's SuperLink
and SuperNodes, in its --insecure mode and with its state in memory. Memory is the most that the
server had at one time, of Flower's the SuperLink and the processes that it starts. The models are
checked.

    python bench/round.py [--megabytes 0 100 1000] [--sites 2] [--json FILE]

0 megabytes is a model of one float; what federant's round of that is held against is 100 ms.
Flower gets an environment of its own, once, made with pip; --environment names one that has it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

import federant
import superlink_rig
from federant.demo import LocalFederation
from model_rig import MB, make_model, size_text
from peer_rig import FLOWER, PeerMissing, python_of
from report_rig import Row, add_options, report
from together_rig import MostTogether

PATIENCE = 600.0


def be_a_trainer() -> None:
    with federant.join() as agent:
        for task in agent.tasks():
            model = task.data.data
            for values in model.values():
                values += np.float32(1)
            agent.submit_result(federant.DXO(federant.DataKind.WEIGHTS, data=model))
            del task, model, values  # one that is kept keeps its file from being used again


def ours(folder: Path, size: int, sites: int, rounds: int) -> tuple[list[float], float]:
    """The times, in seconds, at which the rounds ended, and the most MB that the server had."""
    command = [sys.executable, str(Path(__file__).resolve()), "--be-a-trainer"]
    trainers = {f"site-{number + 1}": command for number in range(sites)}
    with (
        LocalFederation(folder, trainers) as federation,
        MostTogether(_server_in(folder)) as memory,
    ):
        job = federation.client.submit(
            trainer="trainer",
            sites=list(trainers),
            rounds=rounds,
            min_sites=sites,
            initial_model=make_model(size),
        )
        view = job.wait(timeout=PATIENCE)
        if view.state != "finished":
            raise SystemExit(f"the job {view.state.value}: {view.error}")
        most = memory.megabytes
        first = next(iter(job.model().data.values()))
        assert first[0] == 1 + rounds, f"the model of round {rounds} has {first[0]}"
        return [model.created for model in job.models()], most


def _server_in(folder: Path) -> int:
    for process in psutil.Process().children():
        if str(folder / "server") in process.cmdline():
            return process.pid
    raise LookupError(f"no server runs in {folder}")


def measure(flower: Path | None, size: int, sites: int, rounds: int, few: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="federant-bench-") as folder:
        count = few if size else rounds
        found = {"federant, mutual TLS": ours(Path(folder), size, sites, count)}
    if flower is not None:
        with tempfile.TemporaryDirectory(prefix="federant-bench-") as folder:
            found[f"{FLOWER}, no TLS"] = superlink_rig.run(flower, Path(folder), size, sites, few)
    base = None
    for name, (ends, most) in found.items():
        taken = [1000 * (later - earlier) for earlier, later in itertools.pairwise(ends)]
        median = float(np.median(taken))
        base = base or median
        yield {
            "model": size_text(size),
            "by": name,
            "sites": sites,
            "rounds": len(taken),
            "median ms": round(median, 1),
            "x federant": round(median / base, 2),
            "99th percentile": round(float(np.percentile(taken, 99)), 1),
            "longest": round(max(taken), 1),
            "server MB": most,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, nargs="+", default=[0, 100])
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=100, help="of one float through federant")
    parser.add_argument("--few", type=int, default=4, help="rounds of all else")
    parser.add_argument("--environment", type=Path, help="a virtual environment that has Flower")
    parser.add_argument("--be-a-trainer", action="store_true", help=argparse.SUPPRESS)
    add_options(parser)
    args = parser.parse_args()
    if args.be_a_trainer:
        be_a_trainer()
        return
    flower = None
    try:
        flower = python_of(FLOWER, args.environment)
    except PeerMissing as error:
        print(f"Flower is left out: {error}")
    rows = (
        row
        for megabytes in args.megabytes
        for row in measure(flower, int(megabytes * MB), args.sites, args.rounds, args.few)
    )
    report(rows, args.json)


if __name__ == "__main__":
    main()
