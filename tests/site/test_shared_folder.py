"""Jobs whose trainer shares nothing but a folder with its client job; processes get killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from federant.link.messages import JobState, SiteState
from federant.pipe import FilePipe, Mode, PipeKind
from federant.site.config import Start, TrainerConfig
from federant.site.job_file import JobFile, JobFolder

pytestmark = pytest.mark.slow

TRAINER = Path(__file__).with_name("trainer.py")
EXTERNAL = 'start = "external"\nrestart = "on-failure"\npipe = "file"\npipe_folder = "shared"'

StartTrainer = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[StartTrainer]:
    """start(site) starts a trainer by hand with a join file that its owner wrote."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one(site: Any) -> subprocess.Popen[bytes]:
        site.box.mkdir(parents=True, exist_ok=True)
        join = site.folder / "mine.toml"
        join.write_text('pipe = "shared"\npipe_kind = "file"\nheartbeat_timeout = 0\n')
        process = subprocess.Popen(
            [sys.executable, str(TRAINER), str(site.box), str(site.step)],
            env={**os.environ, "FEDERANT_JOIN": str(join)},
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.wait()


def test_a_trainer_that_started_before_there_was_a_job_takes_part(
    server: Any, start: StartTrainer, until: Any
):
    site = server.site(EXTERNAL)
    trainer = start(site)
    until("its offer", lambda: list(site.folder.glob("shared/task/link-*")))
    job = server.submit(rounds=3)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert trainer.wait(60) == 0
    assert (site.box / "accepted").read_text() == "0 True\n1 True\n2 True\n"
    until("the end at the site", (site.job_folder() / "ended.json").exists)
    losses = [event.value for event in job.events().events if event.tag == "loss"]
    assert losses == [1.0, 1 / 2, 1 / 3]
    assert list((site.folder / "shared").rglob("*")) == []


def test_a_second_job_waits_for_the_folder_until_the_first_is_over_though_its_client_job_dies(
    server: Any, start: StartTrainer, until: Any
):
    site = server.site(EXTERNAL)
    site.hold(1)
    trainer = start(site)
    first = server.submit(rounds=2)
    site.trainer(1)
    second = server.submit(rounds=2)
    told = server.told(second, "waiting")
    assert f"job {first.id} has the pipe_folder {site.folder / 'shared'} of site site-1" in told
    assert "With {job} in pipe_folder, in the site's file, each job has a folder of its own" in told
    (part,) = second.view().sites
    assert (part.state, part.text) == (SiteState.PENDING, told)
    site.client_job().kill()
    site.let_go(1)
    view = server.finish(first)
    assert view.state is JobState.FINISHED, view.error
    assert trainer.wait(60) == 0
    trainer = start(site)
    view = server.finish(second)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(first) == server.model(second) == server.expected(2)
    assert trainer.wait(60) == 0
    assert (site.box / "accepted").read_text() == "0 True\n1 True\n" * 2


def test_a_job_that_waits_for_the_folder_may_be_stopped(
    server: Any, start: StartTrainer, until: Any
):
    site = server.site(EXTERNAL)
    site.hold(1)
    start(site)
    first = server.submit(rounds=2)
    site.trainer(1)
    second = server.submit(rounds=2)
    server.told(second, "waiting")
    second.stop()
    assert server.finish(second).state is JobState.STOPPED
    site.let_go(1)
    view = server.finish(first)
    assert view.state is JobState.FINISHED, view.error


def test_a_client_job_ends_with_what_to_do_where_another_site_holds_the_folder(tmp_path: Path):
    shared, folder = tmp_path / "shared", JobFolder(tmp_path / "j1")
    trainer = TrainerConfig(start=Start.EXTERNAL, pipe=PipeKind.FILE, pipe_folder=shared)
    folder.write_job(
        JobFile(
            job_id="j1",
            name="half",
            site="site-2",
            server="http://127.0.0.1:8750",
            trainer=trainer,
            spool_bytes=1 << 20,
        )
    )
    holder = FilePipe(Mode.PASSIVE, shared)
    holder.open("task")
    command = [sys.executable, "-m", "federant.site.client_job", "--folder", str(folder.root)]
    status = subprocess.run(command, check=False).returncode
    holder.close()
    assert status == 1
    told = folder.log.read_text()
    assert f"process {os.getpid()} holds file pipe {shared} channel='task'" in told
    assert "give each a folder of its own (in a site's file: {job} in pipe_folder)" in told
    assert "Traceback" not in told


def test_a_trainer_that_the_site_starts_finds_the_shared_folder(server: Any):
    site = server.site('pipe = "file"\npipe_folder = "shared/{job}"')
    job = server.submit(rounds=2)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(2)
    assert (site.box / "accepted").read_text() == "0 True\n1 True\n"


def test_a_killed_trainers_task_goes_to_the_next_one_and_its_results_stay(
    server: Any, start: StartTrainer
):
    site = server.site(EXTERNAL)
    site.hold(1)
    first = start(site)
    job = server.submit(rounds=3)
    site.trainer(1)
    (site.box / "round-1").unlink()
    first.kill()
    first.wait()
    site.let_go(1)
    second = start(site)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert second.wait(60) == 0
    assert (site.box / "accepted").read_text() == "0 True\n1 True\n2 True\n"


def test_a_killed_client_job_loses_neither_its_trainer_nor_an_accepted_result(
    server: Any, start: StartTrainer, until: Any
):
    site = server.site(EXTERNAL)
    site.hold(1)
    trainer = start(site)
    job = server.submit(rounds=3)
    site.trainer(1)
    alive = site.job_folder() / "alive"
    killed = alive.read_text()
    site.client_job().kill()
    until("the next client job", lambda: alive.read_text() not in (killed, ""))
    site.let_go(1)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert trainer.wait(60) == 0
    assert (site.box / "accepted").read_text() == "0 True\n1 True\n2 True\n"


def test_a_result_that_was_accepted_before_the_kill_is_sent_by_the_next_client_job(
    server: Any, start: StartTrainer, until: Any
):
    """The file that the trainer wrote into the shared folder is the result, whoever sends it."""
    site = server.site(EXTERNAL)
    site.hold(1)
    start(site)
    job = server.submit(rounds=2)
    site.trainer(1)
    server.kill()
    site.let_go(1)
    until("the second acceptance", lambda: "1 True" in (site.box / "accepted").read_text())
    site.kill()
    site.client_job().kill()
    (taken,) = (site.folder / "shared/task/taken").iterdir()
    assert taken.stat().st_size > 80_000
    server.start()
    site.start()
    job = server.operator.job(job.id)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(2)
    assert (site.box / "accepted").read_text() == "0 True\n1 True\n"
