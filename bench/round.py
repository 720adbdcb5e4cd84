"""Seconds a round of a model of one float on idle sites: server, sites, client jobs and trainers
are real processes, and each round's model is kept. The limit it is held against: 100 ms.

    python bench/round.py [--rounds 100] [--sites 3]
"""

import argparse
import itertools
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

import federant
from federant.demo import LocalFederation


def be_a_trainer() -> None:
    """What each site runs: hands back the model with one added."""
    with federant.join() as agent:
        for task in agent.tasks():
            model = {"w": task.data.data.get("w", np.zeros(1, np.float32)) + np.float32(1)}
            agent.submit_result(federant.DXO(federant.DataKind.WEIGHTS, data=model))


def measure(rounds: int, sites: int) -> list[float]:
    """Seconds from one kept model to the next."""
    command = [sys.executable, str(Path(__file__).resolve()), "--be-a-trainer"]
    trainers = {f"site-{number + 1}": command for number in range(sites)}
    with (
        tempfile.TemporaryDirectory(prefix="federant-bench-") as folder,
        LocalFederation(Path(folder), trainers) as federation,
    ):
        job = federation.client.submit(
            trainer="trainer", sites=list(trainers), rounds=rounds, min_sites=sites
        )
        view = job.wait(timeout=300)
        if view.state != "finished":
            raise SystemExit(f"the job {view.state.value}: {view.error}")
        assert float(job.model().data["w"][0]) == rounds
        kept = [model.created for model in job.models()]
    return [later - earlier for earlier, later in itertools.pairwise(kept)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--be-a-trainer", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.be_a_trainer:
        be_a_trainer()
        return
    taken = sorted(measure(args.rounds, args.sites))
    print(
        f"round of one float, {args.sites} sites, {len(taken)} rounds: "
        f"median {1000 * statistics.median(taken):.1f} ms, "
        f"99th percentile {1000 * taken[int(0.99 * (len(taken) - 1))]:.1f} ms, "
        f"longest {1000 * taken[-1]:.1f} ms"
    )


if __name__ == "__main__":
    main()
