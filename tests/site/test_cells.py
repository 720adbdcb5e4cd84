"""Jobs whose trainer is on another machine, as far as one machine can show: it dials the relay."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from federant.link.certificate import read_certificate
from federant.link.messages import JobState

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "far_trainer.py"

WAITING_AGENT = """
import sys
from federant.client import FlareAgentWithCellPipe
from federant.pipe import PipeError
agent = FlareAgentWithCellPipe(
    agent_id="gpu-7", site_name="site-1", root_url=sys.argv[1], secure_mode=True,
    workspace_dir=sys.argv[2], heartbeat_interval=0.5, heartbeat_timeout=120.0,
)
try:
    with agent:
        print("in", flush=True)
        agent.get_task()
except Exception as error:
    print(type(error).__name__, error, flush=True)
"""

StartFar = Callable[..., "subprocess.Popen[bytes]"]


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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


@pytest.fixture
def start_agent() -> Iterator[StartFar]:
    """start_agent(url, kit) runs an agent gpu-7 that waits for tasks and says how that ended."""
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str, kit: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WAITING_AGENT, url, str(kit)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def cell_site(server: Any, port: int) -> Any:
    return server.site(
        f'start = "external"\npipe = "cell"\nagent_id = "gpu-7"\n[relay]\nport = {port}'
    )


def test_a_trainer_that_dials_the_site_s_relay_takes_part_over_mutual_tls(
    secure_server: Any, start_far: StartFar, free_port: Callable[[], int]
):
    port = free_port()
    cell_site(secure_server, port)
    kit = secure_server.kits.agents["site-1.gpu-7"].folder
    trainer = start_far(f"https://localhost:{port}", kit)
    job = secure_server.submit(rounds=3)
    view = secure_server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert secure_server.model(job) == secure_server.expected(3)
    assert trainer.wait(60) == 0
    told = secure_server.told(job, "waiting")
    assert told.endswith("with FEDERANT_KIT naming the startup kit of agent gpu-7")


def test_the_site_s_daemon_and_its_relay_are_killed_and_the_trainer_goes_on(
    secure_server: Any, start_far: StartFar, until: Any, free_port: Callable[[], int]
):
    port = free_port()
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
    assert trainer.wait(60) == 0


def test_a_site_that_is_stopped_and_started_in_mid_job_finds_its_far_trainer_again(
    secure_server: Any, start_far: StartFar, until: Any, free_port: Callable[[], int]
):
    port = free_port()
    site = cell_site(secure_server, port)
    kit = secure_server.kits.agents["site-1.gpu-7"].folder
    trainer = start_far(f"https://localhost:{port}", kit)
    job = secure_server.submit(rounds=60)
    until("a first round", job.models)
    site.stop()
    site.start()
    view = secure_server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert secure_server.model(job) == pytest.approx(secure_server.expected(60))
    assert trainer.wait(60) == 0


def test_an_agent_that_is_revoked_at_the_server_is_out_at_its_site_with_and_without_the_server(
    secure_server: Any, start_agent: StartFar, until: Any, free_port: Callable[[], int]
):
    port = free_port()
    site = cell_site(secure_server, port)
    kit = secure_server.kits.agents["site-1.gpu-7"]
    url = f"https://localhost:{port}"
    log = site.folder / "daemon.log"
    until("the relay", lambda: accepts(port))

    live = start_agent(url, kit.folder)
    assert live.stdout is not None
    assert live.stdout.readline() == b"in\n"
    secure_server.operator.revoke(read_certificate(kit.certificate).serial, "a drill")
    said = live.stdout.readline().decode()
    assert "certificate_revoked: the certificate of agent gpu-7 of site site-1" in said
    until("the denial", lambda: "denied" in log.read_text())
    denied = next(line for line in log.read_text().splitlines() if "denied" in line)
    assert "fqcn='site-1.gpu-7.agent' reason=certificate_revoked" in denied

    secure_server.kill()
    site.stop()
    site.start()
    until("the relay", lambda: accepts(port))
    new = start_agent(url, kit.folder)
    assert new.stdout is not None
    assert "certificate_revoked: the certificate of agent gpu-7" in new.stdout.readline().decode()


OVER_SERVER = 'start = "external"\npipe = "cell"\nagent_id = "gpu-7"\nrelay = "server"'


def test_a_trainer_and_its_site_who_both_only_dial_outward_meet_at_the_server(
    relaying_server: Any, start_far: StartFar
):
    relaying_server.site(OVER_SERVER)
    kit = relaying_server.kits.agents["site-1.gpu-7"].folder
    trainer = start_far(relaying_server.url, kit)
    job = relaying_server.submit(rounds=3)
    view = relaying_server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert relaying_server.model(job) == relaying_server.expected(3)
    assert trainer.wait(60) == 0


def test_a_site_without_a_relay_of_its_own_keeps_who_was_revoked_for_its_client_jobs(
    relaying_server: Any, until: Any
):
    site = relaying_server.site(OVER_SERVER)
    serial = read_certificate(relaying_server.kits.agents["site-1.gpu-7"].certificate).serial
    relaying_server.submit(rounds=3)
    work = site.folder / "work"
    until("the client job", lambda: list(work.glob("jobs/*/alive")))
    relaying_server.operator.revoke(serial, "a drill")
    kept = work / "revoked.json"
    until("the site's list", lambda: kept.exists() and serial in kept.read_text())
    (job_file,) = work.glob("jobs/*/job.json")
    assert json.loads(job_file.read_text())["revoked"] == str(kept)


def test_a_kit_that_names_the_server_is_enough_to_meet_there(relaying_server: Any):
    site = relaying_server.site(OVER_SERVER)
    kit = relaying_server.kits.agents["site-1.gpu-7"]
    (kit.folder / "kit.toml").write_text(replace(kit, relay=relaying_server.url).toml())
    trainer = site.start_from_afar(kit.folder)
    job = relaying_server.submit(rounds=3)
    view = relaying_server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert relaying_server.model(job) == relaying_server.expected(3)
    assert trainer.wait(60) == 0


def test_a_job_whose_server_has_no_relay_ends_with_what_to_do(secure_server: Any):
    secure_server.site(OVER_SERVER)
    view = secure_server.finish(secure_server.submit(rounds=1))
    assert view.state is JobState.FAILED
    assert "the relay of this server is switched off" in view.sites[0].text
    assert "[relay] in server.toml" in view.sites[0].text
