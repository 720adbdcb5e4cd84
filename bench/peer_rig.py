"""The peers that measurements are held against: their environments and their processes.

The environments are made when needed, each peer's its own. They lie in the checkout, as
``.venv-peer-<name>-<version>``, and are used again: only the first use needs the network.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

NVFLARE = "nvflare==2.7.3"
FLOWER = "flwr==1.42.0"

LAST_LINES = 15

_CHECKOUT = Path(__file__).resolve().parent.parent


class PeerMissing(Exception):
    """The peer cannot be installed here; the text says why."""


def python_of(requirement: str, existing: Path | None = None) -> Path:
    """The interpreter that has the peer: the one of the environment named, or of one made now."""
    folder = existing or _CHECKOUT / f".venv-peer-{requirement.replace('==', '-')}"
    python = folder / "bin" / "python"
    if existing is None and not (folder / ".ready").exists():
        _install(requirement, folder, python)
    if not python.exists():
        raise PeerMissing(f"{folder} is no virtual environment: it has no bin/python")
    return python


def _install(requirement: str, folder: Path, python: Path) -> None:
    print(f"installing {requirement} into {folder} (once)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", requirement]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(folder)
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise PeerMissing(f"{requirement} could not be installed (is there a network?): {last}")
    (folder / ".ready").touch()


class PeerProcess:
    """A process of a peer, as a context manager; it is killed at the end."""

    def __init__(self, command: Sequence[str | Path], log: Path, **options: Any) -> None:
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                **options,
            )
        self.pid = self._process.pid

    def line(self) -> str:
        """What it prints next; ends the benchmark with its last words if it ends instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            words = "\n".join(self._log.read_text().splitlines()[-LAST_LINES:])
            raise SystemExit(f"a process of the peer ended: {self._process.args}\n{words}")
        return line.strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
