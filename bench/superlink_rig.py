"""Flower's SuperLink and SuperNodes on this machine, and the app of flower_rig.py run on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from peer_rig import PeerProcess, free_port
from together_rig import MostTogether

PATIENCE = 600.0
APP = """
[project]
name = "bench"
version = "1.0.0"
description = "rounds of federated averaging that are timed"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "federant"
[tool.flwr.app.components]
serverapp = "flower_rig:server"
clientapp = "flower_rig:client"
[tool.flwr.app.config]
size = {size}
sites = {sites}
rounds = {rounds}
report = "{report}"
"""
HOME = """
[superlink]
default = "bench"
[superlink.bench]
address = "127.0.0.1:{port}"
insecure = true
"""


def run(
    python: Path, folder: Path, size: int, sites: int, rounds: int
) -> tuple[list[float], float]:
    """The times, in seconds, at which the rounds ended, and the most MB that the server's side had:
    the SuperLink and the processes that it starts."""
    programs, report, port = python.parent, folder / "report", free_port()
    app, home = folder / "app", folder / "home"
    app.mkdir()
    home.mkdir()
    for name in ("flower_rig.py", "model_rig.py"):
        shutil.copy(Path(__file__).with_name(name), app)
    text = APP.format(size=size, sites=sites, rounds=rounds, report=report)
    (app / "pyproject.toml").write_text(text)
    (home / "config.toml").write_text(HOME.format(port=port))
    environment = {
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    with ExitStack() as stack:

        def start(name: str, program: str, *options: str) -> PeerProcess:
            command = [programs / program, "--insecure", *options]
            log = folder / f"{name}.log"
            return stack.enter_context(PeerProcess(command, log, talks=False, env=environment))

        offline = "--disable-runtime-dependency-installation"
        superlink = start("superlink", "flower-superlink", "--port", str(port), offline)
        memory = stack.enter_context(MostTogether(superlink.pid))
        for number in range(sites):
            address = ("--superlink", f"127.0.0.1:{port}", "--port", str(free_port()))
            start(f"supernode-{number}", "flower-supernode", *address)
        _submit(programs / "flwr", app, environment)
        deadline = time.monotonic() + PATIENCE
        while not report.exists() or len(report.read_text().splitlines()) <= rounds:
            superlink.check()
            if time.monotonic() > deadline:
                raise SystemExit(f"Flower's run has not ended:\n{superlink.last_words()}")
            time.sleep(0.1)
        # The first line is from before the first round.
        return [float(line) for line in report.read_text().splitlines()][1:], memory.megabytes


def _submit(flwr: Path, app: Path, environment: dict[str, str]) -> None:
    """Hands the run in, as soon as the SuperLink listens."""
    deadline = time.monotonic() + PATIENCE
    while True:
        command = [flwr, "run", app, "bench"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if not done.returncode:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"Flower's run was not taken: {done.stdout}{done.stderr}")
        time.sleep(0.5)
