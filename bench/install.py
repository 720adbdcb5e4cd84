"""What the core costs: megabytes on disk, packages, and the time of its import in a fresh process.

Each package gets an environment of its own, made with pip. The import is held against that of
numpy, on which the core stands, in the same run: a ratio of 1 would mean that the agent's side
costs nothing of its own.

    python bench/install.py [--peers nvflare==2.7.3 flwr==1.42.0] [--repeats 9] [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from report_rig import Row, add_options, report

CHECKOUT = Path(__file__).resolve().parent.parent
TOOLS = ("pip", "setuptools", "wheel", "_distutils_hack", "pkg_resources")
"""What every environment has, whatever is installed in it."""

IMPORTS = {
    "federant": "federant",
    "nvflare": "nvflare.client.flare_agent",
    "flwr": "flwr.clientapp",
}
"""What a trainer's program imports of each."""


@dataclass(frozen=True)
class Cost:
    requirement: str
    packages: int
    megabytes: float
    import_seconds: float
    numpy_seconds: float


def measure(requirement: str, folder: Path, repeats: int) -> Cost:
    """Installs it into a new environment in the folder, and imports it again and again."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", requirement], check=True)
    listed = subprocess.run([*pip, "list", "--format=freeze"], check=True, capture_output=True)
    names = [line.partition("==")[0] for line in listed.stdout.decode().split()]
    return Cost(
        requirement=requirement,
        packages=len([name for name in names if name not in TOOLS]),
        megabytes=size_of_packages(python) / 1e6,
        import_seconds=import_seconds(python, module_of(requirement), repeats),
        numpy_seconds=import_seconds(python, "numpy", repeats),
    )


def module_of(requirement: str) -> str:
    name = "federant" if Path(requirement).is_dir() else requirement.partition("==")[0]
    return IMPORTS.get(name, name)


def size_of_packages(python: Path) -> int:
    """Bytes of all that was installed, with what Python compiles of it."""
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]
    where = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([python, "-m", "compileall", "-q", where], check=False)
    return sum(
        file.lstat().st_size
        for file in Path(where).rglob("*")
        if file.is_file() and not file.relative_to(where).parts[0].startswith(TOOLS)
    )


def import_seconds(python: Path, module: str, repeats: int) -> float:
    """The median over fresh processes, less that of a process which imports nothing."""

    def seconds(program: str) -> float:
        taken = []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            subprocess.run([python, "-c", program], check=True)
            taken.append(time.perf_counter() - began)
        return statistics.median(taken[1:])  # the first one reads from the disk

    return seconds(f"import {module}") - seconds("pass")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", nargs="*", default=[], help="requirements, as pip takes them")
    parser.add_argument("--repeats", type=int, default=9)
    add_options(parser)
    args = parser.parse_args()
    rows: list[Row] = []
    for number, requirement in enumerate((str(CHECKOUT), *args.peers)):
        with tempfile.TemporaryDirectory(prefix="federant-bench-") as folder:
            cost = measure(requirement, Path(folder) / str(number), args.repeats)
        rows.append(
            {
                "installed": "federant (core)" if not number else requirement,
                "packages": cost.packages,
                "MB": round(cost.megabytes),
                "import s": round(cost.import_seconds, 3),
                "x numpy": round(cost.import_seconds / cost.numpy_seconds, 2),
            }
        )
    report(rows, args.json)


if __name__ == "__main__":
    main()
