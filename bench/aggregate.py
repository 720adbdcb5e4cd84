"""The weighted mean of many results of one size: seconds, memory, and how far from the limit.

Each way is a process of its own that gets the results one after the other, as they would arrive,
each in memory of its own; making a result is not timed. Beside federant's WeightedMean, in the same
run: one copy of each result between warm arrays (a pass of memory bandwidth), ``acc += w * x`` in
numpy, NVFLARE's DXOAggregator and the function that Flower's FedAvg aggregates with, which gets
them as it has them off the wire. Means are checked. The ways take turns, and of each the median
counts. federant sums in float64, the others in float32; its float32 is shown too. That its server
judges each result before it is added is not in here.

    python bench/aggregate.py [--mb 100] [--results 20] [--repeats 3] [--json FILE]

The peers get environments of their own, once, made with pip; --nvflare and --flower name
environments that have them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from model_rig import MB
from peer_rig import FLOWER, NVFLARE, PeerMissing, python_of
from report_rig import Row, add_options, report

OURS = {
    "one copy of each": "copy",
    "acc += w * x": "numpy",
    "federant": "federant",
    "federant, float32": "federant-single",
}


def turn(python: Path, way: str, size: int, count: int) -> dict[str, float]:
    script = Path(__file__).with_name("aggregate_rig.py")
    command = [python, script, way, str(size), str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def rows(ways: dict[str, tuple[Path, str]], size: int, count: int, repeats: int) -> list[Row]:
    turns = [
        {name: turn(python, way, size, count) for name, (python, way) in ways.items()}
        for _ in range(repeats)
    ]
    found = {
        name: {key: statistics.median(each[name][key] for each in turns) for key in turns[0][name]}
        for name in ways
    }

    def seconds(name: str) -> float:
        return found[name]["seconds"]

    return [
        {
            "way": name,
            "seconds": round(seconds(name), 3),
            "GB/s": round(size * count / 1e9 / seconds(name), 2),
            "x one copy": round(seconds(name) / seconds("one copy of each"), 2),
            "x acc += w * x": round(seconds(name) / seconds("acc += w * x"), 2),
            "MB at most": each["most"],
            "MB before": each["before"],
        }
        for name, each in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=100)
    parser.add_argument("--results", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nvflare", type=Path, help="a virtual environment that has NVFLARE")
    parser.add_argument("--flower", type=Path, help="a virtual environment that has Flower")
    add_options(parser)
    args = parser.parse_args()
    ways = {name: (Path(sys.executable), way) for name, way in OURS.items()}
    for name, requirement, existing in (
        ("nvflare", NVFLARE, args.nvflare),
        ("flower", FLOWER, args.flower),
    ):
        try:
            ways[requirement] = (python_of(requirement, existing), name)
        except PeerMissing as error:
            print(f"{name} is left out: {error}")
    print(f"{args.results} results of {args.mb} MB in 10 arrays, {args.repeats} turns")
    report(rows(ways, args.mb * MB, args.results, args.repeats), args.json)


if __name__ == "__main__":
    main()
