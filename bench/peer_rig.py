"""The peers that measurements are held against: their environments and their processes.

The environments are made when needed, each peer's its own. They lie in the checkout, as
``.venv-peer-<name>-<version>``, and are used again: only the first use needs the network.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

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
    """A process of a peer, as a context manager; it is killed at the end, with its children."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        talks: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """What it prints goes into the log too unless it ``talks``: then to ``line``."""
        self._log = log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if talks else file,
                stderr=file,
                text=True,
                env=env,
            )
        self.pid = self._process.pid

    def line(self) -> str:
        """What it prints next; ends the benchmark with its last words if it ends instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self.check()
        return line.strip()

    def check(self) -> None:
        """Ends the benchmark with the process's last words if it has ended."""
        if self._process.poll() is not None:
            raise SystemExit(f"{self._process.args} ended:\n{self.last_words()}")

    def last_words(self) -> str:
        return "\n".join(self._log.read_text().splitlines()[-LAST_LINES:])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self._process.kill()
        self._process.communicate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
