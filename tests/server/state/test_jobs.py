"""Jobs, their sites and their runners in the store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from federant.exchange import ReturnCode
from federant.link.messages import BlobRef, Event, JobSpec, JobState, SiteState
from federant.server.state import (
    ConflictError,
    JobRow,
    NewTask,
    NotYoursError,
    Store,
    TaskState,
    UnknownRowError,
    task_id,
)
from federant.server.state.tables import metadata
from federant.server.wakeups import Wakeups, job_topic, site_topic

Submit = Callable[..., JobRow]
InThreads = Callable[[int, Callable[[int], Any]], list[Any]]

SPEC = JobSpec(name="digits", trainer="digits", params={"rounds": 3})


def test_migrations_make_the_tables_that_the_code_knows(tmp_path: Path) -> None:
    Store.in_file(tmp_path / "state.db").close()
    engine = create_engine(f"sqlite:///{tmp_path}/state.db")
    with engine.connect() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_an_existing_database_is_opened_with_what_it_holds(tmp_path: Path) -> None:
    first = Store.in_file(tmp_path / "state.db")
    job = first.create_job(SPEC)
    first.close()
    second = Store.in_file(tmp_path / "state.db")
    assert second.job(job.id) == job
    second.close()


def test_the_database_is_in_wal_mode_and_keeps_foreign_keys(tmp_path: Path, store: Store) -> None:
    with pytest.raises(UnknownRowError, match="no job nowhere"):
        store.begin_step("nowhere", 0, "broadcast", {})
    engine = create_engine(f"sqlite:///{tmp_path}/state.db")
    with engine.connect() as conn:
        assert conn.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    engine.dispose()


def test_a_submitted_job_is_found_again_as_it_was_submitted(store: Store) -> None:
    job = store.create_job(SPEC)
    assert job.state is JobState.SUBMITTED
    assert job.spec == SPEC
    assert store.job(job.id) == job
    assert store.jobs() == [job]


def test_jobs_are_listed_in_the_order_of_submission(store: Store) -> None:
    ids = [store.create_job(SPEC).id for _ in range(5)]
    assert [job.id for job in store.jobs()] == ids


def test_submitting_twice_under_one_id_is_one_job(store: Store) -> None:
    first = store.create_job(SPEC, "mine")
    assert store.create_job(SPEC, "mine") == first
    assert len(store.jobs()) == 1


def test_another_job_under_a_taken_id_is_refused(store: Store) -> None:
    store.create_job(SPEC, "mine")
    with pytest.raises(ConflictError, match="job mine exists with another specification"):
        store.create_job(JobSpec(name="other", trainer="other"), "mine")


def test_many_threads_submitting_one_id_make_one_job(store: Store, in_threads: InThreads) -> None:
    made = in_threads(8, lambda _: store.create_job(SPEC, "mine").created)
    assert len(set(made)) == 1
    assert len(store.jobs()) == 1


def test_a_job_without_sites_takes_in_every_known_site_and_each_new_one(store: Store) -> None:
    store.seen_site("site-1", "place-1", ["x"])
    job = store.create_job(SPEC)
    store.seen_site("site-2", "place-1", [])
    assert [part.site for part in store.job_sites(job.id)] == ["site-1", "site-2"]


def test_a_job_with_sites_takes_in_no_other(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1", "site-9")
    store.seen_site("site-2", "place-1", [])
    assert [part.site for part in store.job_sites(job.id)] == ["site-1", "site-9"]
    assert store.jobs_for_site("site-2") == []
    assert store.jobs_for_site("site-9") == [job]


def test_a_new_site_does_not_join_a_job_that_has_ended(store: Store) -> None:
    job = store.create_job(SPEC)
    store.set_job_state(job.id, JobState.FINISHED)
    store.seen_site("site-1", "place-1", [])
    assert store.job_sites(job.id) == []


def test_a_site_seen_by_many_threads_at_once_is_one_site(
    store: Store, in_threads: InThreads
) -> None:
    job = store.create_job(SPEC)
    in_threads(8, lambda _: store.seen_site("site-1", "place-1", []))
    assert len(store.sites()) == 1
    assert len(store.job_sites(job.id)) == 1


def test_a_sign_of_life_keeps_what_the_hello_said(store: Store) -> None:
    store.seen_site("site-1", "place-1", ["long-poll"])
    site = store.seen_site("site-1")
    assert (site.instance, site.features) == ("place-1", ("long-poll",))


def test_a_site_is_one_instance_for_as_long_as_that_is_heard_of(
    clocked_store: Store, store_clock: Any
) -> None:
    clocked_store.seen_site("site-1", "place-1", [])
    store_clock.advance(80)
    clocked_store.seen_site("site-1")
    store_clock.advance(7)
    refusal = (
        "site-1 already runs as instance place-1, last seen 7 s ago; stop it, or give this one "
        "another name"
    )
    with pytest.raises(ConflictError, match=refusal):
        clocked_store.seen_site("site-1", "place-2", [])
    assert clocked_store.seen_site("site-1", "place-1", []).instance == "place-1"


def test_another_instance_takes_a_sites_place_once_the_first_is_silent(
    clocked_store: Store, store_clock: Any
) -> None:
    clocked_store.seen_site("site-1", "place-1", [])
    store_clock.advance(91)
    assert clocked_store.seen_site("site-1", "place-2", []).instance == "place-2"


def test_signs_of_life_are_noted_to_the_minute(clocked_store: Store, store_clock: Any) -> None:
    hello = clocked_store.seen_site("site-1", "run-1", ["long-poll"])
    store_clock.advance(59)
    assert clocked_store.seen_site("site-1") == hello
    assert clocked_store.sites() == [hello]
    store_clock.advance(1)
    assert clocked_store.seen_site("site-1").last_seen == store_clock()
    store_clock.advance(1)
    assert clocked_store.seen_site("site-1", "run-1").last_seen == store_clock()
    store_clock.advance(-1000)  # a clock that was put right
    assert clocked_store.seen_site("site-1").last_seen == store_clock()
    assert [site.last_seen for site in clocked_store.sites()] == [store_clock()]


def test_jobs_of_a_site_include_an_ended_one_only_if_it_is_asked_for(
    store: Store, submit: Submit
) -> None:
    job = submit(store, "site-1")
    store.set_job_state(job.id, JobState.FINISHED)
    assert store.jobs_for_site("site-1") == []
    assert [row.state for row in store.jobs_for_site("site-1", also=[job.id])] == [
        JobState.FINISHED
    ]


def test_a_job_that_has_ended_stays_as_it_ended(store: Store) -> None:
    job = store.create_job(SPEC)
    store.set_job_state(job.id, JobState.RUNNING)
    ended = store.set_job_state(job.id, JobState.FAILED, "boom")
    assert store.set_job_state(job.id, JobState.FINISHED) == ended
    assert (ended.state, ended.error) == (JobState.FAILED, "boom")
    assert store.request_stop(job.id) == ended


def test_ending_a_job_cancels_its_open_tasks(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1")
    store.begin_step(job.id, 0, "broadcast", {}, [NewTask("t", "site-1", "train")])
    store.set_job_state(job.id, JobState.STOPPED)
    task = store.task("t")
    assert task.state is TaskState.CANCELLED
    assert task.error == f"job {job.id} stopped"


def test_asking_twice_for_a_stop_is_asking_once(store: Store, wakeups: Wakeups) -> None:
    job = store.create_job(SPEC)
    stopped = store.request_stop(job.id)
    version = wakeups.version(job_topic(job.id))
    assert store.request_stop(job.id) == stopped
    assert wakeups.version(job_topic(job.id)) == version


# ---- runners --------------------------------------------------------------------------------


def test_a_claimed_job_is_not_given_to_another_runner(store: Store) -> None:
    job = store.create_job(SPEC)
    assert [row.id for row in store.claim_jobs("r1", 30)] == [job.id]
    assert store.claim_jobs("r2", 30) == []
    assert [row.id for row in store.claim_jobs("r1", 30)] == [job.id]


def test_runners_racing_for_jobs_get_each_job_once(store: Store, in_threads: InThreads) -> None:
    ids = {store.create_job(SPEC).id for _ in range(6)}
    claimed = in_threads(6, lambda n: [job.id for job in store.claim_jobs(f"r{n}", 30)])
    assert sorted(job for each in claimed for job in each) == sorted(ids)


def test_a_job_whose_lease_ran_out_goes_to_another_runner(
    clocked_store: Store, store_clock: Any
) -> None:
    job = clocked_store.create_job(SPEC)
    clocked_store.claim_jobs("r1", 30)
    store_clock.advance(31)
    assert [row.id for row in clocked_store.claim_jobs("r2", 30)] == [job.id]
    assert clocked_store.claim_jobs("r1", 30) == []


def test_a_job_that_its_runner_claims_again_stays_with_it_for_longer(
    clocked_store: Store, store_clock: Any
) -> None:
    job = clocked_store.create_job(SPEC)
    clocked_store.claim_jobs("r1", 30)
    store_clock.advance(20)
    assert [row.id for row in clocked_store.claim_jobs("r1", 30)] == [job.id]
    store_clock.advance(20)
    assert clocked_store.claim_jobs("r2", 30) == []


def test_a_released_job_is_free_at_once_and_only_its_runner_releases_it(store: Store) -> None:
    job = store.create_job(SPEC)
    store.claim_jobs("r1", 30)
    store.release_job(job.id, "r2")
    assert store.claim_jobs("r2", 30) == []
    store.release_job(job.id, "r1")
    store.release_job(job.id, "r1")
    assert [row.id for row in store.claim_jobs("r2", 30)] == [job.id]


def test_a_job_that_has_ended_is_claimed_by_nobody(store: Store) -> None:
    job = store.create_job(SPEC)
    store.claim_jobs("r1", 30)
    store.set_job_state(job.id, JobState.FINISHED)
    assert store.claim_jobs("r1", 30) == []


# ---- what a site says about a job -----------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "rc"),
    [
        (SiteState.REFUSED, ReturnCode.TRAINER_ABSENT),
        (SiteState.FAILED, ReturnCode.TRAINER_DIED),
        (SiteState.ENDED, ReturnCode.TASK_ABORTED),
    ],
)
def test_a_site_that_is_gone_answers_its_open_and_its_later_tasks(
    store: Store, submit: Submit, state: SiteState, rc: str
) -> None:
    job = submit(store, "site-1", "site-2")
    tasks = [NewTask(task_id(job.id, 0, site), site, "train") for site in ("site-1", "site-2")]
    store.begin_step(job.id, 0, "broadcast", {}, tasks)
    for _ in range(2):
        store.set_site_state(job.id, "site-1", state, "why")
    store.begin_step(job.id, 1, "send", {}, [NewTask(task_id(job.id, 1, "site-1"), "site-1", "x")])

    first, other = store.step_tasks(job.id, 0)
    (later,) = store.step_tasks(job.id, 1)
    assert (first.state, first.rc) == (TaskState.DONE, rc)
    assert first.error == f"site site-1 {state} the job: why"
    assert (later.state, later.rc) == (TaskState.DONE, rc)
    assert (first.seq, later.seq) == (1, 2)
    assert other.state is TaskState.QUEUED


def test_a_site_that_is_ready_again_gets_tasks_again(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1")
    store.set_site_state(job.id, "site-1", SiteState.FAILED, "")
    store.set_site_state(job.id, "site-1", SiteState.READY, "")
    store.begin_step(job.id, 0, "send", {}, [NewTask("t", "site-1", "train")])
    assert store.task("t").state is TaskState.QUEUED


def test_a_site_says_nothing_about_a_job_that_it_takes_no_part_in(
    store: Store, submit: Submit
) -> None:
    job = submit(store, "site-1")
    with pytest.raises(NotYoursError, match="site site-2 takes no part"):
        store.set_site_state(job.id, "site-2", SiteState.READY, "")


def test_bytes_are_counted_from_many_threads(
    store: Store, submit: Submit, in_threads: InThreads
) -> None:
    job = submit(store, "site-1")
    given, sent = BlobRef(digest="a" * 64, size=5), BlobRef(digest="b" * 64, size=3)
    tasks = [NewTask(f"t{number}", "site-1", "train", blob=given) for number in range(8)]
    store.begin_step(job.id, 0, "send", {}, tasks)
    in_threads(8, lambda n: store.commit_result(f"t{n}", "site-1", 1, "OK", {}, sent))
    (part,) = store.job_sites(job.id)
    assert (part.bytes_up, part.bytes_down) == (24, 40)


# ---- models and events ----------------------------------------------------------------------


def test_a_rounds_model_saved_twice_is_one_model(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1")
    blob = BlobRef(digest="a" * 64, size=5)
    for _ in range(2):
        store.save_model(job.id, 1, blob, {"loss": 0.5})
    store.save_model(job.id, 0, blob)
    assert [(row.round, row.blob, row.metrics) for row in store.models(job.id)] == [
        (0, blob, {}),
        (1, blob, {"loss": 0.5}),
    ]


def test_an_event_counts_once_by_its_sites_id(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1", "site-2")
    event = Event(id="e1", kind="METRIC", tag="loss", value=0.5, step=3)
    assert store.add_events(job.id, "site-1", [event, event]) == 1
    assert store.add_events(job.id, "site-1", [event]) == 0
    assert store.add_events(job.id, "site-2", [event]) == 1
    assert [(row.site, row.value, row.step) for row in store.events(job.id)] == [
        ("site-1", 0.5, 3),
        ("site-2", 0.5, 3),
    ]


def test_events_are_read_from_where_one_left_off(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1")
    store.add_events(job.id, "site-1", [Event(id=str(n), kind="TEXT") for n in range(5)])
    first = store.events(job.id, limit=2)
    rest = store.events(job.id, after=first[-1].seq)
    assert [row.id for row in first + rest] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0, 1e-300])
def test_the_value_of_a_metric_is_kept_to_the_bit(
    store: Store, submit: Submit, value: float
) -> None:
    job = submit(store, "site-1")
    store.add_events(job.id, "site-1", [Event(id="1", kind="METRIC", value=value)])
    assert repr(store.events(job.id)[0].value) == repr(value)


def test_many_threads_adding_the_same_events_add_them_once(
    store: Store, submit: Submit, in_threads: InThreads
) -> None:
    job = submit(store, "site-1")
    events = [Event(id=str(n), kind="METRIC", value=float(n)) for n in range(10)]
    added = in_threads(6, lambda _: store.add_events(job.id, "site-1", events))
    assert sum(added) == 10
    assert len(store.events(job.id)) == 10


# ---- who is woken ---------------------------------------------------------------------------


def test_a_submitted_job_wakes_its_sites(store: Store, wakeups: Wakeups) -> None:
    store.seen_site("site-1", "", [])
    version = wakeups.version(site_topic("site-1"))
    store.create_job(SPEC)
    assert wakeups.version(site_topic("site-1")) > version


def test_a_change_that_fails_wakes_nobody_and_changes_nothing(
    store: Store, wakeups: Wakeups, submit: Submit
) -> None:
    job = submit(store, "site-1")
    version = wakeups.version(job_topic(job.id))
    good, stray = NewTask("t1", "site-1", "x"), NewTask("t2", "site-7", "x")
    with pytest.raises(ConflictError, match="for site site-7, which takes no part"):
        store.begin_step(job.id, 0, "broadcast", {}, [good, stray])
    assert wakeups.version(job_topic(job.id)) == version
    assert store.step(job.id, 0) is None
