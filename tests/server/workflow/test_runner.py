"""Jobs in their threads: how each ends, and what becomes of it when the server does."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from federant.codec import encode
from federant.exchange import DXO, DataKind, ReturnCode
from federant.link.messages import JobSpec, JobState, SiteState
from federant.server.blobs import FolderBlobs
from federant.server.runner import Runner
from federant.server.state import JobRow, Store
from federant.server.wakeups import JOBS_TOPIC, Wakeups, events_topic
from federant.server.workflow import Context, FedAvg, Workflow, WorkflowError

LONG = 60.0
ENDED = (JobState.FINISHED, JobState.FAILED, JobState.STOPPED)


class Ask(Workflow):
    """One task for everyone, for which nobody has a deadline."""

    def run(self, ctx: Context) -> None:
        list(ctx.broadcast("ask", DXO(DataKind.APP_DEFINED)))


class Fail(Workflow):
    def run(self, ctx: Context) -> None:
        ctx.log("looking")
        raise WorkflowError("the data is of another kind than the model")


class Crash(Workflow):
    def run(self, ctx: Context) -> None:
        ctx.log("looking")
        raise KeyError("w")


class Leave(Workflow):
    def run(self, ctx: Context) -> None:
        ctx.log("leaving")
        raise SystemExit(3)


class Done(Workflow):
    def run(self, ctx: Context) -> None:
        ctx.log("done")


WORKFLOWS: dict[str, type[Workflow]] = {
    "ask": Ask,
    "crash": Crash,
    "done": Done,
    "fail": Fail,
    "fedavg": FedAvg,
    "leave": Leave,
}


@pytest.fixture
def runner(store: Store, blobs: FolderBlobs, wakeups: Wakeups) -> Iterator[Callable[..., Runner]]:
    """Starts runners: ``runner()``."""
    made: list[Runner] = []

    def start(name: str = "runner-1", **options: Any) -> Runner:
        made.append(Runner(store, blobs, wakeups, name=name, workflows=WORKFLOWS, **options))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop()


@pytest.fixture
def submit(store: Store) -> Callable[..., JobRow]:
    def make(workflow: str, **params: Any) -> JobRow:
        return store.create_job(
            JobSpec(name="j", trainer="t", workflow=workflow, sites=("site-1",), params=params)
        )

    return make


@pytest.fixture
def until(store: Store, wakeups: Wakeups) -> Callable[..., JobRow]:
    """Waits until a job is in a state."""

    def wait(job: JobRow, *states: JobState) -> JobRow:
        while True:
            version = wakeups.version(events_topic(job.id))
            row = store.job(job.id)
            if row.state in states:
                return row
            assert wakeups.wait_blocking(events_topic(job.id), version, LONG), row

    return wait


@pytest.fixture
def site(store: Store, blobs: FolderBlobs, wakeups: Wakeups) -> Callable[[JobRow], None]:
    """Does the next task of site-1."""

    def work(job: JobRow) -> None:
        store.set_site_state(job.id, "site-1", SiteState.READY)
        while True:
            version = wakeups.version("site:site-1")
            task = store.next_task(job.id, "site-1", "cj", (), 60.0).task
            if task is not None:
                break
            assert wakeups.wait_blocking("site:site-1", version, LONG)
        round_number = task.headers.get("current_round", 0)
        result = DXO(DataKind.WEIGHTS, {"w": np.full(3, float(round_number))})
        blob = blobs.put(encode(result.to_shareable()).chunks())
        store.commit_result(task.id, "site-1", task.attempt, ReturnCode.OK, {}, blob)

    return work


def test_a_submitted_job_runs_to_its_end(
    runner: Any, submit: Any, until: Any, site: Any, store: Store
) -> None:
    runner()
    job = submit("fedavg", rounds=2)
    site(job)
    site(job)
    assert until(job, *ENDED).state is JobState.FINISHED
    assert [model.round for model in store.models(job.id)] == [0, 1]


def test_a_job_submitted_before_the_start_runs_too(runner: Any, submit: Any, until: Any) -> None:
    job = submit("done")
    runner()
    assert until(job, *ENDED).state is JobState.FINISHED


@pytest.mark.parametrize(
    ("workflow", "params", "error"),
    [
        ("fail", {}, "the data is of another kind than the model"),
        ("crash", {}, "KeyError: 'w'"),
        ("leave", {}, "SystemExit: 3"),
        ("missing", {}, "there is no workflow 'missing'; there are ask, crash, done"),
        ("fedavg", {"rounds": -1}, "rounds: Input should be greater than 0"),
    ],
)
def test_a_job_that_fails_says_why(
    runner: Any, submit: Any, until: Any, workflow: str, params: dict[str, Any], error: str
) -> None:
    runner()
    row = until(submit(workflow, **params), *ENDED)
    assert row.state is JobState.FAILED
    assert error in row.error


def test_a_stopped_job_ends_as_stopped_and_its_tasks_are_cancelled(
    runner: Any, submit: Any, until: Any, store: Store
) -> None:
    runner()
    job = submit("ask")
    until(job, JobState.RUNNING)
    store.request_stop(job.id)
    assert until(job, *ENDED).state is JobState.STOPPED
    assert not any(task.state.open for task in store.step_tasks(job.id, 0))


def test_a_job_stopped_before_it_ran_never_runs(
    runner: Any, submit: Any, until: Any, store: Store
) -> None:
    job = submit("done")
    store.request_stop(job.id)
    runner()
    assert until(job, *ENDED).state is JobState.STOPPED
    assert store.newest_step(job.id) is None
    assert store.events(job.id) == []


def test_a_runner_that_stops_leaves_its_jobs_to_the_next(
    runner: Any, submit: Any, until: Any, site: Any, store: Store
) -> None:
    first = runner("runner-1")
    job = submit("fedavg", rounds=2)
    site(job)
    first.stop()
    first.stop()
    row = store.job(job.id)
    assert (row.state, row.runner) == (JobState.RUNNING, "")
    assert not first.ready

    runner("runner-2")
    site(job)
    assert until(job, *ENDED).state is JobState.FINISHED


def test_a_runner_that_was_killed_has_its_jobs_back_at_once_under_its_name(
    runner: Any, submit: Any, until: Any, store: Store
) -> None:
    job = submit("done")
    store.claim_jobs("runner-1", 3600.0)  # what a runner that was killed left behind
    runner("runner-1")
    assert until(job, *ENDED).state is JobState.FINISHED


def test_two_runners_do_not_run_the_same_job(
    runner: Any, submit: Any, until: Any, store: Store
) -> None:
    runner("runner-1")
    runner("runner-2")
    jobs = [submit("done") for _ in range(5)]
    for job in jobs:
        assert until(job, *ENDED).state is JobState.FINISHED
        assert len(store.events(job.id)) == 1


def test_a_runner_whose_lease_went_to_another_lets_go(
    store: Store,
    wakeups: Wakeups,
    submit: Any,
    until: Any,
    runner: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner()
    job = submit("ask")
    until(job, JobState.RUNNING)
    [run] = [each for each in threading.enumerate() if each.name == f"federant-job-{job.id}"]
    monkeypatch.setattr(store, "claim_jobs", lambda *_: [])
    wakeups.notify(JOBS_TOPIC)
    run.join(LONG)
    assert not run.is_alive()
    assert store.job(job.id).state is JobState.RUNNING


def test_a_job_that_was_let_go_is_run_again_at_once_when_it_is_free(
    store: Store, wakeups: Wakeups, submit: Any, until: Any, runner: Any, monkeypatch: Any
) -> None:
    """It is looked for while its last run still ends, and then not for the length of a lease."""
    claim, release, wait = store.claim_jobs, store.release_job, wakeups.wait_blocking
    set_state = store.set_job_state
    lost, released, looked, begun = (threading.Event() for _ in range(4))

    def claim_nothing_once(name: str, seconds: float) -> list[JobRow]:
        if not lost.is_set():
            lost.set()
            return []
        return claim(name, seconds)

    def release_slowly(job_id: str, name: str) -> None:
        release(job_id, name)
        released.set()
        assert looked.wait(LONG)

    def watched_wait(topic: str, version: int, timeout: float) -> bool:
        if topic == JOBS_TOPIC and released.is_set():
            looked.set()
        return wait(topic, version, timeout)

    def watched_state(*arguments: Any) -> JobRow:
        begun.set()
        return set_state(*arguments)

    runner(lease_seconds=3600.0)
    job = submit("ask")
    until(job, JobState.RUNNING)
    monkeypatch.setattr(store, "set_job_state", watched_state)
    monkeypatch.setattr(store, "release_job", release_slowly)
    monkeypatch.setattr(wakeups, "wait_blocking", watched_wait)
    monkeypatch.setattr(store, "claim_jobs", claim_nothing_once)
    wakeups.notify(JOBS_TOPIC)
    assert begun.wait(LONG)


def test_a_database_that_fails_for_a_while_does_not_fail_the_job(
    runner: Any, submit: Any, until: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_events, failures = store.add_events, []

    def sometimes(*args: Any, **kwargs: Any) -> Any:
        if not failures:
            failures.append(1)
            raise OperationalError("INSERT", {}, Exception("disk I/O error"))
        return add_events(*args, **kwargs)

    monkeypatch.setattr(store, "add_events", sometimes)
    job = submit("done")
    runner(lease_seconds=0.2)
    assert until(job, *ENDED).state is JobState.FINISHED
    assert failures == [1]


def test_a_runner_says_why_a_job_cannot_be_run(runner: Any) -> None:
    started = runner()
    good = JobSpec(name="j", trainer="t", workflow="fedavg", params={"rounds": 3})
    bad = JobSpec(name="j", trainer="t", workflow="fedavg", params={"rouns": 3})
    assert started.check(good) is None
    assert "rouns: there is no such parameter, did you mean rounds?" in started.check(bad)


def test_a_runner_started_again_in_each_round_ends_the_job_with_the_model_of_the_last(
    submit: Any, site: Any, store: Store, runner: Any, until: Any, blobs: FolderBlobs
) -> None:
    job = submit("fedavg", rounds=3)
    for _ in range(3):
        started = runner("server")
        site(job)
        started.stop()
    runner("server")
    assert until(job, *ENDED).state is JobState.FINISHED
    kept = store.models(job.id)
    wanted = [encode(DXO(DataKind.WEIGHTS, {"w": np.full(3, float(r))})) for r in range(3)]
    assert [model.blob for model in kept] == [blobs.put(frame.chunks()) for frame in wanted]
