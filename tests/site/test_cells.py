"""Jobs whose trainer is on another machine, as far as one machine can show: it dials the relay."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from federant.link.messages import JobState

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "far_trainer.py"

StartFar = Callable[..., "subprocess.Popen[bytes]"]


def relay_port() -> int:
    """A free port that the system gives to nobody who does not ask for it by number."""
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


@pytest.fixture
def start_far() -> Iterator[StartFar]:
    """start_far(url, kit) runs the example as agent gpu-7 of site-1."""
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str, kit: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(EXAMPLE), url, "site-1", "gpu-7", str(kit)]
        started.append(subprocess.Popen(command))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def cell_site(server: Any, port: int) -> Any:
    return server.site(
        f'start = "external"\npipe = "cell"\nagent_id = "gpu-7"\n[relay]\nport = {port}'
    )


def test_a_trainer_that_dials_the_site_s_relay_takes_part_over_mutual_tls(
    secure_server: Any, start_far: StartFar
):
    port = relay_port()
    cell_site(secure_server, port)
    kit = secure_server.kits.agents["site-1.gpu-7"].folder
    trainer = start_far(f"https://localhost:{port}", kit)
    job = secure_server.submit(rounds=3)
    view = secure_server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert secure_server.model(job) == secure_server.expected(3)
    assert trainer.wait(30) == 0


def test_the_site_s_daemon_and_its_relay_are_killed_and_the_trainer_goes_on(
    secure_server: Any, start_far: StartFar, until: Any
):
    port = relay_port()
    site = cell_site(secure_server, port)
    kit = secure_server.kits.agents["site-1.gpu-7"].folder
    trainer = start_far(f"https://localhost:{port}", kit)
    job = secure_server.submit(rounds=20)
    until("the job's folder", lambda: list(site.folder.glob("work/jobs/*/alive")))
    site.kill()
    site.start()
    view = secure_server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert secure_server.model(job) == pytest.approx(secure_server.expected(20))
    assert trainer.wait(30) == 0
