"""What memory one process needs, in megabytes, from Linux's /proc.

The peers' processes use it too, so it needs nothing but Python.
"""

from __future__ import annotations

from pathlib import Path


def most(pid: int) -> float:
    """The most resident memory that it has had, pages that it shares with others included."""
    return _megabytes(Path(f"/proc/{pid}/status"), "VmHWM")


def forget_most(pid: int) -> None:
    """From now on ``most`` counts from what it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def resident(pid: int) -> float:
    """Resident memory of now."""
    return _megabytes(Path(f"/proc/{pid}/status"), "VmRSS")


def proportional(pid: int) -> float:
    """Resident memory of now; of a page that several processes share each has its part."""
    return _megabytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def _megabytes(file: Path, name: str) -> float:
    for line in file.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) * 1024 / 1e6)
    raise LookupError(f"{file} has no line {name}")
