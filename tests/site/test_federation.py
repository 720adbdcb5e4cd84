"""Jobs at real sites: server, daemons, client jobs and trainers are processes, and get killed."""

from __future__ import annotations

import contextlib
import dataclasses
import tomllib
from typing import Any

import numpy as np
import psutil
import pytest

from federant.client import FlareAgent
from federant.exchange import DXO, DataKind
from federant.link.messages import JobState
from federant.pipe import LocalPipe, Mode

pytestmark = pytest.mark.slow


def test_a_job_runs_to_its_end_and_leaves_nothing_running(server: Any, until: Any):
    first, second = server.site(step=1.0), server.site(step=2.0)
    job = server.submit(rounds=3)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    for site in (first, second):
        until("the end at the site", (site.job_folder() / "ended.json").exists)
        until("the end of its processes", lambda site=site: len(site.processes()) == 1)
        assert (site.box / "accepted").read_text() == "0 True\n1 True\n2 True\n"
        assert not (site.job_folder() / "pipe").exists()
        assert "joined site-" in (site.job_folder() / "trainer.log").read_text()
    losses = [
        (event.site, event.step, event.value)
        for event in job.events().events
        if (event.kind, event.tag) == ("METRIC", "loss")
    ]
    assert len(losses) == 6
    assert {value for _, _, value in losses} == {1.0, 1 / 2, 1 / 3}


def test_a_trainer_killed_in_mid_round_is_told_with_its_cause_and_the_round_goes_on(
    server: Any, until: Any
):
    victim, other = server.site(), server.site(step=2.0)
    victim.hold(1)
    job = server.submit(rounds=2, min_sites=1)
    victim.trainer(1).kill()
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    # Of round 1 only the other site's result: (0 / 2 + 1.5) / 2 + 2.
    assert server.model(job) == 1.5 / 2 + other.step
    cause, _, words = server.told(job, "died").partition("\n")
    assert cause == "killed by signal 9 (SIGKILL)"
    assert "joined site-1" in words
    failure = next(event.text for event in job.events().events if "TRAINER_DIED" in event.text)
    assert "with task train" in failure
    assert "in hand: killed by signal 9 (SIGKILL)" in failure
    assert "joined site-1" in failure


def test_a_trainer_killed_in_mid_round_is_restarted_and_the_model_is_the_same(
    server: Any, until: Any
):
    site = server.site('restart = "on-failure"')
    site.hold(1)
    job = server.submit(rounds=3)
    killed = site.trainer(1)
    (site.box / "round-1").unlink()
    killed.kill()
    site.let_go(1)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert site.trainer_pid(1) != killed.pid
    assert "killed by signal 9 (SIGKILL); start 1 of 3 again" in server.told(job, "restarted")


def test_an_exception_in_a_trainer_that_is_restarted_costs_nothing(server: Any):
    site = server.site('restart = "on-failure"', "raise-1")
    job = server.submit(rounds=3)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert "exit status 1; start 1 of 3 again" in server.told(job, "restarted")
    log = (site.job_folder() / "trainer.log").read_text()
    assert "ArithmeticError: the loss is no number" in log


def test_a_trainer_that_dies_too_often_is_reported(server: Any):
    server.site('restart = "on-failure"\nmax_restarts = 2', "die-1")
    view = server.finish(server.submit(rounds=2))
    assert view.state is JobState.FAILED
    assert "and was started again 2 times before (max_restarts in the site's file)" in view.error


def test_daemon_and_client_job_killed_together_find_their_work_again(server: Any, until: Any):
    site = server.site()
    site.hold(1)
    job = server.submit(rounds=3)
    trainer = site.trainer(1)
    site.kill()
    site.client_job().kill()
    site.start()
    server.told(job, "adopted")
    site.let_go(1)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert site.trainer_pid(2) == trainer.pid


def test_everything_at_a_site_killed_at_once_finds_its_work_again(server: Any, until: Any):
    site = server.site()
    site.hold(1)
    job = server.submit(rounds=3)
    site.trainer(1)
    found = site.processes()
    site.kill()
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    until("the end of its processes", lambda: not site.processes())
    (site.box / "round-1").unlink()
    site.let_go(1)
    site.start()
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert "its keeper was killed" in server.told(job, "lost")


def test_a_trainer_that_no_client_job_comes_back_to_ends_and_is_not_to_blame(
    server: Any, until_ended: Any
):
    site = server.site(patience=5.0)
    job = server.submit(rounds=2)
    site.hold(1)
    trainer = site.trainer(1)
    site.kill()
    site.client_job().kill()
    site.let_go(1)
    until_ended(trainer)
    assert "AgentPeerGoneException" in (site.job_folder() / "trainer.log").read_text()
    site.start()
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(2)


def test_a_job_that_ended_while_its_site_was_dead_leaves_no_spool(
    server: Any, until: Any, until_ended: Any
):
    site = server.site(grace=1.0)
    site.hold(0)
    job = server.submit(rounds=1)
    trainer = site.trainer(0)
    site.kill()
    site.client_job().kill()
    job.stop()
    assert server.finish(job).state is JobState.STOPPED
    assert (site.job_folder() / "pipe").exists()
    site.start()
    until("the end at the site", (site.job_folder() / "ended.json").exists)
    assert not (site.job_folder() / "pipe").exists()
    until_ended(trainer)


def test_a_job_that_a_site_has_no_room_for_fails_there_and_the_site_goes_on(server: Any):
    site = server.site()
    jobs = site.folder / "work" / "jobs"
    jobs.parent.mkdir(exist_ok=True)
    jobs.touch()  # where the folder of jobs should be
    view = server.finish(server.submit(rounds=1))
    assert view.state is JobState.FAILED
    assert "it cannot be served" in view.sites[0].text
    jobs.unlink()
    view = server.finish(server.submit(rounds=1))
    assert view.state is JobState.FINISHED, view.error


def test_folders_of_old_jobs_are_removed(server: Any, until: Any):
    site = server.site()
    site.file.write_text("keep_ended_jobs = 1\n" + site.file.read_text())
    site.stop()
    site.start()
    for _ in range(3):
        assert server.finish(server.submit(rounds=1)).state is JobState.FINISHED
    jobs = site.folder / "work" / "jobs"
    # The daemon looks when it hears of a job.
    until("the end of all but the newest", lambda: len(list(jobs.iterdir())) <= 2)


def test_a_client_job_killed_in_mid_round_is_replaced_and_its_trainer_adopted(
    server: Any, until: Any
):
    site = server.site()
    site.hold(1)
    job = server.submit(rounds=3)
    trainer = site.trainer(1)
    killed = site.client_job()
    killed.kill()
    server.told(job, "adopted")
    assert site.client_job().pid != killed.pid
    site.let_go(1)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert site.trainer_pid(2) == trainer.pid
    assert (site.box / "accepted").read_text() == "0 True\n1 True\n2 True\n"


def test_a_result_that_came_while_there_was_no_client_job_is_not_lost(server: Any, until: Any):
    site = server.site()
    site.hold(1)
    job = server.submit(rounds=2)
    site.trainer(1)
    site.client_job().suspend()
    site.let_go(1)
    site.client_job().kill()
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(2)
    assert (site.box / "accepted").read_text() == "0 True\n1 True\n"


def test_a_daemon_killed_in_mid_round_finds_its_client_job_again(server: Any, until: Any):
    site = server.site()
    site.hold(1)
    job = server.submit(rounds=3)
    trainer = site.trainer(1)
    client_job = site.client_job()
    site.kill()
    assert client_job.is_running()
    site.start()
    found = site.folder / "daemon.log"
    until("the client job found", lambda: "found a living client job" in found.read_text())
    site.let_go(1)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert site.trainer_pid(2) == trainer.pid
    until("the end of its processes", lambda: len(site.processes()) == 1)


def test_a_server_killed_in_mid_round_goes_on_with_the_sites_as_they_are(server: Any, until: Any):
    site = server.site()
    site.hold(1)
    job = server.submit(rounds=3)
    trainer = site.trainer(1)
    server.kill()
    site.let_go(1)
    until("the result", lambda: "1 True" in (site.box / "accepted").read_text())
    server.start()
    job = server.operator.job(job.id)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert site.trainer_pid(2) == trainer.pid


def test_a_site_that_went_down_in_mid_round_goes_on_when_it_is_back(server: Any, until_ended: Any):
    site = server.site("", "stubborn")
    site.hold(1)
    job = server.submit(rounds=3)
    trainer = site.trainer(1)
    assert site.stop() == 0
    until_ended(trainer)
    assert site.processes() == []
    (site.box / "round-1").unlink()
    site.let_go(1)
    site.start()
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)


def test_a_client_job_that_cannot_live_is_given_up_and_its_trainer_ended(server: Any, until: Any):
    site = server.site(grace=1.0)
    site.hold(0)
    job = server.submit(rounds=1)
    trainer = site.trainer(0)
    (site.job_folder() / "job.json").write_text("{}")
    site.client_job().kill()
    view = server.finish(job)
    assert view.state is JobState.FAILED
    assert "the client job died 6 times in a row" in view.sites[0].text
    assert "job.json: cannot be used" in view.sites[0].text
    until("the end of the trainer", lambda: not trainer.is_running())


def test_a_stopped_job_ends_its_trainer_in_mid_round(server: Any, until: Any, until_ended: Any):
    site = server.site(grace=1.0)
    site.hold(0)
    job = server.submit(rounds=1)
    trainer = site.trainer(0)
    job.stop()
    view = server.finish(job)
    assert view.state is JobState.STOPPED
    until_ended(trainer)
    until("the end of its processes", lambda: len(site.processes()) == 1)


def test_a_trainer_may_be_started_for_each_task_anew(server: Any, until: Any):
    site = server.site('start = "task"')
    job = server.submit(rounds=3)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert len({(site.box / f"round-{number}").read_text() for number in range(3)}) == 3


def test_a_trainer_may_take_one_task_and_exit_and_the_next_task_starts_it_again(
    server: Any, until: Any
):
    site = server.site("", "one-task")
    job = server.submit(rounds=3)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert len({(site.box / f"round-{number}").read_text() for number in range(3)}) == 3


def test_an_external_trainer_is_waited_for_and_may_come_back(server: Any, until: Any):
    site = server.site('start = "external"\nrestart = "on-failure"')
    site.hold(1)
    job = server.submit(rounds=2)
    until("the join file", lambda: list(site.folder.glob("work/jobs/*/join.toml")))
    first = site.start_external()
    site.trainer(1)
    (site.box / "round-1").unlink()
    first.kill()
    first.wait()
    site.let_go(1)
    second = site.start_external()
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(2)
    assert second.wait(60) == 0


def test_an_external_trainer_goes_on_when_its_site_is_stopped_and_started(server: Any, until: Any):
    site = server.site('start = "external"', patience=120.0)
    site.hold(1)
    job = server.submit(rounds=2)
    until("the join file", lambda: list(site.folder.glob("work/jobs/*/join.toml")))
    trainer = site.start_external()
    site.trainer(1)
    assert site.stop() == 0
    site.let_go(1)
    site.start()
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(2)
    assert trainer.wait(60) == 0


def test_metrics_whose_channel_is_met_after_the_last_result_arrive(server: Any, until: Any):
    site = server.site('start = "external"', grace=60.0)
    job = server.submit(rounds=1)
    until("the join file", lambda: list(site.folder.glob("work/jobs/*/join.toml")))
    at = tomllib.loads((site.job_folder() / "join.toml").read_text())
    trainer = FlareAgent(LocalPipe(Mode.ACTIVE, at["pipe"], at["token"]))
    trainer.start()
    for _ in trainer.tasks():
        trainer.submit_result(DXO(DataKind.WEIGHTS, {"w": np.ones(20_000, np.float32)}))
    late = FlareAgent(metric_pipe=LocalPipe(Mode.ACTIVE, at["pipe"], at["token"]))
    late.start()
    late.log_number("loss", 0.5, 0)
    assert late.flush_metrics(60.0)
    late.stop()
    trainer.stop()
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    until("the site's leaving", lambda: all(each.state.gone for each in job.view().sites))
    assert [each.value for each in job.events().events if each.tag == "loss"] == [0.5]


def test_a_job_whose_trainer_the_site_does_not_name_is_refused_with_the_names(server: Any):
    server.site()
    view = server.finish(server.submit(trainer="quarter"))
    assert view.state is JobState.FAILED
    assert view.sites[0].text == "site site-1 has no trainer 'quarter'; its file names: half"


def test_a_copy_of_a_sites_file_is_not_let_in_and_the_site_goes_on(server: Any, until: Any):
    site = server.site()
    until("the site's hello", server.operator.sites)
    copy = dataclasses.replace(site, folder=site.folder.with_name("copy"), daemon=None)
    copy.write()
    copy.start()
    assert copy.daemon.wait(60) == 1
    said = (copy.folder / "daemon.log").read_text()
    assert "NameInUseError" in said
    assert "site-1 already runs as instance" in said
    view = server.finish(server.submit())
    assert (view.state, view.error) == (JobState.FINISHED, "")


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("nan", "RESULT_NOT_FINITE: 'w' holds nan; a model's numbers must be finite"),
        ("reshape", "RESULT_WRONG_SHAPE: 'w' has shape (2, 10000), the model's has (20000,)"),
        ("rename", "RESULT_WRONG_NAMES: the result lacks 'w'; it has 'other', which"),
    ],
)
def test_a_result_that_does_not_fit_is_told_to_trainer_and_operator_in_the_same_words(
    server: Any, until: Any, mistake: str, words: str
):
    site = server.site("", f"{mistake}-1")
    job = server.submit(rounds=2)
    view = server.finish(job)
    assert view.state is JobState.FAILED
    assert f"site-1: {words}" in view.error
    assert server.told(job, "result").startswith(words)
    until("the end of the trainer", (site.job_folder() / "ended.json").exists)
    # The client job had taken it, and the server judged it later.
    assert (site.box / "accepted").read_text() == "0 True\n1 True\n"
    log = (site.job_folder() / "trainer.log").read_text()
    assert f"result refused task_id={job.id}-" in log
    assert f"reason={words}" in log


def test_a_trainer_that_dies_on_import_is_told_at_once_with_its_traceback(server: Any, until: Any):
    server.site("", "bad-import")
    server.site().kill()
    job = server.submit(rounds=1)  # waits for the other site: there is no task to fail
    text = server.told(job, "died")
    assert text.startswith("exit status 1\n")
    assert "import no_such_package" in text
    assert "ModuleNotFoundError: No module named 'no_such_package'" in text
    job.stop()


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("no-init", "ApiCallError: this process has not joined the federation: call init() once"),
        ("send-first", "ApiCallError: send before receive: a result answers a model"),
    ],
)
def test_what_a_trainer_does_out_of_order_is_told_to_the_operator_in_its_own_words(
    server: Any, mistake: str, words: str
):
    server.site("", mistake)
    view = server.finish(server.submit(rounds=1))
    assert view.state is JobState.FAILED
    assert words in view.error


def test_a_trainer_that_never_joins_is_told_what_it_lacks(server: Any):
    server.site("", "no-join")
    view = server.finish(server.submit(rounds=1))
    assert view.state is JobState.FAILED
    for words in ("exit status 0", "federant.join() or flare.init()", "agent.tasks()"):
        assert words in view.error


@pytest.mark.parametrize("options", [[], ["flare"]])
def test_an_external_trainer_joins_by_the_folder_of_its_job(
    server: Any, until: Any, options: list[str]
):
    site = server.site('start = "external"')
    job = server.submit(rounds=1)
    until("the join file", lambda: list(site.folder.glob("work/jobs/*/join.toml")))
    trainer = site.start_external(*options, by="folder")
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert trainer.wait(60) == 0
    assert f"FEDERANT_JOIN={site.job_folder() / 'join.toml'}" in server.told(job, "waiting")
