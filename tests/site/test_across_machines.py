"""Sites that come, go and come back, and jobs side by side: real processes, by mutual TLS."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from federant.client.meeting_point import KIT_VARIABLE
from federant.link.messages import JobState, SiteState
from federant.provision import make_federation
from federant.testing import ConnectProxy

pytestmark = pytest.mark.slow

TRAINER = Path(__file__).with_name("trainer.py")
HOST = "federation.invalid"
"""A name that only a proxy can reach."""
RELAY_HOST = "relay.invalid"
FAR = """
start = "external"
pipe = "cell"
agent_id = "gpu-7"
[relay]
port = {port}
"""
IDLE_SECONDS = 10.0
TRAINING_SECONDS = 13.0
ONCE_BYTES = 15 * 80_000
"""Models of three rounds that go through the proxy: up and, but for the first round, down, of two
sites to the server and of one trainer to its site."""


def states(job: Any) -> dict[str, SiteState]:
    return {site.site: site.state for site in job.view().sites}


def mark(box: Path, number: int) -> Path:
    """What a trainer makes when it has the task of that round."""
    return box / f"round-{number}"


def test_jobs_run_side_by_side_each_with_a_client_job_of_its_own(
    secure_server: Any, until: Any, tmp_path: Path
) -> None:
    second = tmp_path / "second-box"
    second.mkdir()
    command = ["{python}", str(TRAINER), str(second), "4.0"]
    site = secure_server.site(f"\n[trainers.second]\ncommand = {command!r}\ngrace_seconds = 1.0")
    site.hold(1)
    (second / "hold-1").touch()
    jobs = [secure_server.submit(name, rounds=3) for name in ("half", "second")]
    for box in (site.box, second):
        until(f"round 1 in {box}", mark(box, 1).exists)
    folders = [site.folder / "work" / "jobs" / job.id for job in jobs]
    client_jobs = [psutil.Process(int((folder / "alive").read_text())) for folder in folders]
    assert len({process.pid for process in client_jobs}) == 2
    # The end of one client job is nothing to the other job.
    client_jobs[0].send_signal(signal.SIGKILL)
    (second / "hold-1").unlink()
    view = secure_server.finish(jobs[1])
    assert view.state is JobState.FINISHED, view.error
    assert secure_server.model(jobs[1]) == 7.0  # 4, 4 / 2 + 4, 6 / 2 + 4
    assert jobs[0].view().state is JobState.RUNNING
    site.let_go(1)
    view = secure_server.finish(jobs[0])
    assert view.state is JobState.FINISHED, view.error
    assert secure_server.model(jobs[0]) == secure_server.expected(3)


def test_a_site_that_comes_late_takes_part_from_the_next_round_on(
    secure_server: Any, until: Any
) -> None:
    first = secure_server.site(step=1.0)
    first.hold(0)
    job = secure_server.operator.submit(trainer="half", params={"rounds": 3, "min_sites": 1})
    until("round 0", mark(first.box, 0).exists)
    second = secure_server.site(step=2.0)
    until("the late site", lambda: states(job).get("site-2") is SiteState.READY)
    first.let_go(0)
    view = secure_server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert not mark(second.box, 0).exists()
    # 1 of the first alone, then of both: (1 / 2 + 1 + 1 / 2 + 2) / 2 = 2, and so 2.5.
    assert secure_server.model(job) == 2.5


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_site_that_leaves_in_a_round_and_comes_back_in_it_is_in_its_model(
    secure_server: Any, until: Any, until_ended: Any, how: str
) -> None:
    stays, leaves = secure_server.site(step=1.0), secure_server.site(step=2.0)
    leaves.hold(1)
    job = secure_server.submit(rounds=3)
    until("round 1 at the one that stays", mark(stays.box, 1).exists)
    trainer = leaves.trainer(1)
    if how == "stop":
        assert leaves.stop() == 0
        until_ended(trainer)
    else:
        gone = leaves.processes()
        leaves.kill()
        for process in gone:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        until("the end of its processes", lambda: not leaves.processes())
    until("the result of the other", lambda: "1 True" in (stays.box / "accepted").read_text())
    assert job.view().state is JobState.RUNNING
    mark(leaves.box, 1).unlink()
    leaves.let_go(1)
    leaves.start()
    view = secure_server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert secure_server.model(job) == secure_server.expected(3)


def test_a_training_outlasts_a_proxy_that_closes_idle_connections(
    tmp_path: Path, until: Any, monkeypatch: pytest.MonkeyPatch, server_of: Any, relay_port: int
) -> None:
    """It stands between sites and server, and between a far trainer and its site's relay."""
    kits = make_federation(
        *(tmp_path / "kits",),
        host=HOST,
        sites=["site-1", "site-2"],
        operators=["alice"],
        agents=[("site-1", "gpu-7")],
        relays={"site-1": f"https://{RELAY_HOST}:{relay_port}"},
    )
    with ConnectProxy(idle_seconds=IDLE_SECONDS) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        server = server_of(kits)
        assert server.url.startswith(f"https://{HOST}:")
        far = server.site(FAR.format(port=relay_port), step=1.0)
        near = server.site(step=2.0)
        for site in (far, near):
            site.hold(1)
        kit = str(kits.agents["site-1.gpu-7"].folder)
        command = [sys.executable, str(TRAINER), str(far.box), str(far.step)]
        with subprocess.Popen(command, env={**os.environ, KIT_VARIABLE: kit}) as trainer:
            job = server.submit(rounds=3)
            for site in (far, near):
                until(f"round 1 at {site.name}", mark(site.box, 1).exists)
            # A training: nothing else tells how long it takes.
            time.sleep(TRAINING_SECONDS)
            for site in (far, near):
                site.let_go(1)
            view = server.finish(job)
            assert view.state is JobState.FINISHED, view.error
            assert server.model(job) == server.expected(3)
            assert trainer.wait(60) == 0
        for site in (far, near):
            assert (site.box / "accepted").read_text() == "0 True\n1 True\n2 True\n"
        server.close()
    assert {target.rpartition(":")[0] for target in proxy.asked} == {HOST, RELAY_HOST}
    assert proxy.carried_bytes < 1.75 * ONCE_BYTES
