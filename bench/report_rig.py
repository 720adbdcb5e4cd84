"""How a benchmark shows what it found: a table, and the same as JSON with the machine it ran on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

Value = str | float | None
Row = Mapping[str, Value]
"""Figures by name, the unit in the name; every row of a report has the same names; None where
one has no such figure."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, help="a file for the figures, beside the table")


def report(found: Iterable[Row], file: Path | None) -> None:
    """Print the machine and the rows; with a file, write them there too.

    While they are being measured, what there is so far is named on standard error.
    """
    machine = _machine()
    rows = []
    for row in found:
        rows.append(row)
        words = [value for value in row.values() if isinstance(value, str)]
        print("measured:", ", ".join(words) or len(rows), file=sys.stderr)
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    columns = []
    for name in rows[0]:
        values = [row[name] for row in rows]
        cells = [name, *map(_text, values)]
        width = max(map(len, cells))
        texts = any(isinstance(value, str) for value in values)
        columns.append([cell.ljust(width) if texts else cell.rjust(width) for cell in cells])
    for line in zip(*columns, strict=True):
        print("  ".join(line).rstrip(), flush=True)
    if file is not None:
        file.write_text(json.dumps({"machine": machine, "figures": rows}, indent=1) + "\n")


def _text(value: Value) -> str:
    if not isinstance(value, float | int):
        return value or ""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def _machine() -> dict[str, Value]:
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
