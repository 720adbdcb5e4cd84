"""Steps, tasks and results in the store: the journal, leases, and commits that count once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federant.link.messages import BlobRef, CommitOutcome, JobState
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
from federant.server.wakeups import Wakeups, job_topic, site_topic, task_topic

InThreads = Callable[[int, Callable[[int], Any]], list[Any]]

BLOB = BlobRef(digest="a" * 64, size=100)


@pytest.fixture
def job(store: Store, submit: Callable[..., JobRow]) -> JobRow:
    return submit(store, "site-1", "site-2", "site-3")


@pytest.fixture
def begin(store: Store, job: JobRow) -> Callable[..., list[NewTask]]:
    """Begins a step with a task for each site: ``begin(0, "site-1", "site-2")``."""

    def make(number: int, *sites: str, **more: Any) -> list[NewTask]:
        tasks = [NewTask(task_id(job.id, number, site), site, "train", **more) for site in sites]
        store.begin_step(job.id, number, "broadcast", {"round": number}, tasks)
        return tasks

    return make


Begin = Callable[..., list[NewTask]]


# ---- steps ----------------------------------------------------------------------------------


def test_a_step_that_is_begun_again_is_the_step_that_is_there(store: Store, job: JobRow) -> None:
    first = store.begin_step(job.id, 0, "broadcast", {"a": 1}, [NewTask("t", "site-1", "train")])
    again = store.begin_step(job.id, 0, "other", {"b": 2}, [NewTask("u", "site-2", "train")])
    assert again == first
    assert [task.id for task in store.step_tasks(job.id, 0)] == ["t"]


def test_threads_racing_to_begin_a_step_begin_it_once(
    store: Store, job: JobRow, in_threads: InThreads
) -> None:
    tasks = [NewTask(task_id(job.id, 0, site), site, "train") for site in ("site-1", "site-2")]
    steps = in_threads(6, lambda _: store.begin_step(job.id, 0, "broadcast", {}, tasks))
    assert all(step == steps[0] for step in steps)
    assert len(store.step_tasks(job.id, 0)) == 2


def test_a_closed_step_keeps_its_first_outcome_and_cancels_what_is_open(
    store: Store, job: JobRow, begin: Begin
) -> None:
    done, still_open = begin(0, "site-1", "site-2")
    store.commit_result(done.id, "site-1", 1, "OK", {})
    closed = store.close_step(job.id, 0, {"included": [done.id]})
    assert store.close_step(job.id, 0, {"included": []}) == closed
    assert closed.outcome == {"included": [done.id]}
    assert not closed.open
    assert [task.state for task in store.step_tasks(job.id, 0)] == [
        TaskState.DONE,
        TaskState.CANCELLED,
    ]
    assert store.task(still_open.id).error == f"step 0 of job {job.id} has ended"


def test_a_step_that_was_not_begun_cannot_be_closed(store: Store, job: JobRow) -> None:
    with pytest.raises(UnknownRowError, match=f"job {job.id} has no step 4"):
        store.close_step(job.id, 4, {})


def test_a_job_that_has_ended_takes_no_more_steps(store: Store, job: JobRow) -> None:
    store.set_job_state(job.id, JobState.FINISHED)
    with pytest.raises(ConflictError, match="has finished: it takes no more steps"):
        store.begin_step(job.id, 0, "broadcast", {})


def test_the_newest_step_is_the_one_with_the_highest_number(
    store: Store, job: JobRow, begin: Begin
) -> None:
    assert store.newest_step(job.id) is None
    begin(0)
    begin(1)
    newest = store.newest_step(job.id)
    assert newest is not None
    assert (newest.number, newest.detail) == (1, {"round": 1})


def test_what_was_journaled_is_there_after_the_store_is_opened_again(
    store: Store, job: JobRow, begin: Begin, tmp_path: Path
) -> None:
    (task,) = begin(0, "site-1", expect={"kind": "WEIGHTS"}, headers={"current_round": 1})
    store.commit_result(task.id, "site-1", 1, "OK", {"weight": 3.5}, BLOB)
    step = store.close_step(job.id, 0, {"included": [task.id]})
    before = store.step_tasks(job.id, 0)
    store.close()
    again = Store.in_file(tmp_path / "state.db")
    assert again.step(job.id, 0) == step
    assert again.step_tasks(job.id, 0) == before
    again.close()


# ---- leases ---------------------------------------------------------------------------------


def test_a_site_gets_its_own_tasks_in_the_order_of_queueing(
    store: Store, job: JobRow, begin: Begin
) -> None:
    begin(0, "site-2")
    (first,) = begin(1, "site-1")
    (second,) = begin(2, "site-1")
    one = store.next_task(job.id, "site-1", "cj", [], 60).task
    assert one is not None
    two = store.next_task(job.id, "site-1", "cj", [one.id], 60).task
    assert two is not None
    assert [one.id, two.id] == [first.id, second.id]
    assert store.next_task(job.id, "site-1", "cj", [one.id, two.id], 60).task is None


def test_a_leased_task_is_given_again_as_the_same_attempt_unless_it_is_in_hand(
    store: Store, job: JobRow, begin: Begin
) -> None:
    begin(0, "site-1")
    first = store.next_task(job.id, "site-1", "cj-1", [], 60).task
    again = store.next_task(job.id, "site-1", "cj-2", [], 60).task
    assert first is not None
    assert again is not None
    assert (again.id, again.attempt, again.holder) == (first.id, 1, "cj-2")
    assert store.next_task(job.id, "site-1", "cj-2", [first.id], 60).task is None


def test_a_lease_that_ran_out_makes_a_new_attempt(
    clocked_store: Store, store_clock: Any, submit: Callable[..., JobRow]
) -> None:
    job = submit(clocked_store, "site-1")
    clocked_store.begin_step(job.id, 0, "send", {}, [NewTask("t", "site-1", "train")])
    clocked_store.next_task(job.id, "site-1", "cj", [], 60)
    store_clock.advance(61)
    again = clocked_store.next_task(job.id, "site-1", "cj", [], 60).task
    assert again is not None
    assert again.attempt == 2


def test_a_task_past_its_deadline_is_not_given(
    clocked_store: Store, store_clock: Any, submit: Callable[..., JobRow]
) -> None:
    job = submit(clocked_store, "site-1")
    task = NewTask("t", "site-1", "train", deadline=store_clock() + 10)
    clocked_store.begin_step(job.id, 0, "send", {}, [task])
    store_clock.advance(11)
    assert clocked_store.next_task(job.id, "site-1", "cj", [], 60).task is None


def test_a_job_that_is_to_stop_gives_no_more_tasks(store: Store, job: JobRow, begin: Begin) -> None:
    begin(0, "site-1")
    store.request_stop(job.id)
    offer = store.next_task(job.id, "site-1", "cj", [], 60)
    assert (offer.task, offer.job) == (None, store.job(job.id))


def test_a_site_outside_the_job_gets_no_task_of_it(store: Store, job: JobRow) -> None:
    with pytest.raises(NotYoursError, match=f"site site-9 takes no part in job {job.id}"):
        store.next_task(job.id, "site-9", "cj", [], 60)


def test_sites_racing_for_tasks_get_each_their_own(
    store: Store, job: JobRow, begin: Begin, in_threads: InThreads
) -> None:
    sites = ["site-1", "site-2", "site-3"]
    begin(0, *sites)
    given = in_threads(9, lambda n: store.next_task(job.id, sites[n % 3], f"cj-{n}", [], 60).task)
    assert [task.site for task in given] == sites * 3
    assert {task.attempt for task in given} == {1}


def test_a_renewed_lease_does_not_run_out(
    clocked_store: Store, store_clock: Any, submit: Callable[..., JobRow]
) -> None:
    job = submit(clocked_store, "site-1")
    clocked_store.begin_step(job.id, 0, "send", {}, [NewTask("t", "site-1", "train")])
    clocked_store.next_task(job.id, "site-1", "cj", [], 60)
    for _ in range(3):
        store_clock.advance(50)
        clocked_store.renew("t", "site-1", "cj", 60)
    again = clocked_store.next_task(job.id, "site-1", "cj", [], 60).task
    assert again is not None
    assert again.attempt == 1


def test_a_lease_that_lasts_long_enough_is_not_written_again(
    clocked_store: Store, store_clock: Any, submit: Callable[..., JobRow]
) -> None:
    job = submit(clocked_store, "site-1")
    clocked_store.begin_step(job.id, 0, "send", {}, [NewTask("t", "site-1", "train")])
    leased = clocked_store.next_task(job.id, "site-1", "cj", [], 60).task
    store_clock.advance(20)
    assert clocked_store.renew("t", "site-1", "cj", 60) == leased
    store_clock.advance(20)
    assert clocked_store.renew("t", "site-1", "cj", 60).lease_until == store_clock() + 60


def test_whoever_renews_at_the_site_holds_the_task(store: Store, job: JobRow, begin: Begin) -> None:
    (task,) = begin(0, "site-1")
    store.next_task(job.id, "site-1", "cj-gone", [], 60)
    renewed = store.renew(task.id, "site-1", "cj-new", 60)
    assert (renewed.state, renewed.holder, renewed.attempt) == (TaskState.LEASED, "cj-new", 1)
    with pytest.raises(NotYoursError, match=f"task {task.id} is not one of site site-2"):
        store.renew(task.id, "site-2", "cj", 60)


def test_renewing_a_task_that_has_ended_tells_how_it_ended(
    store: Store, job: JobRow, begin: Begin
) -> None:
    done, cancelled = begin(0, "site-1", "site-2")
    store.commit_result(done.id, "site-1", 1, "OK", {})
    store.close_step(job.id, 0, {})
    assert store.renew(done.id, "site-1", "cj", 60).state is TaskState.DONE
    assert store.renew(cancelled.id, "site-2", "cj", 60).state is TaskState.CANCELLED


# ---- results --------------------------------------------------------------------------------


def test_a_result_committed_twice_counts_once(store: Store, job: JobRow, begin: Begin) -> None:
    (task,) = begin(0, "site-1")
    first = store.commit_result(task.id, "site-1", 1, "OK", {"weight": 2}, BLOB)
    second = store.commit_result(task.id, "site-1", 1, "EXECUTION_EXCEPTION", {}, None, "boom")
    assert first.outcome is CommitOutcome.ACCEPTED
    assert (second.outcome, second.rc, second.error) == (CommitOutcome.DUPLICATE, "OK", "")
    assert second.task == first.task == store.task(task.id)
    assert store.job_sites(job.id)[0].bytes_up == BLOB.size


def test_threads_racing_to_commit_one_result_commit_it_once(
    store: Store, job: JobRow, begin: Begin, in_threads: InThreads
) -> None:
    (task,) = begin(0, "site-1")
    commits = in_threads(
        8, lambda n: store.commit_result(task.id, "site-1", 1, f"RC-{n}", {}, BLOB)
    )
    outcomes = [commit.outcome for commit in commits]
    assert outcomes.count(CommitOutcome.ACCEPTED) == 1
    assert outcomes.count(CommitOutcome.DUPLICATE) == 7
    assert len({commit.rc for commit in commits}) == 1
    assert store.job_sites(job.id)[0].bytes_up == BLOB.size


def test_sites_racing_to_commit_get_different_places_in_the_order(
    store: Store, job: JobRow, begin: Begin, in_threads: InThreads
) -> None:
    tasks = begin(0, "site-1", "site-2", "site-3")
    in_threads(3, lambda n: store.commit_result(tasks[n].id, tasks[n].site, 1, "OK", {}))
    assert sorted(task.seq or 0 for task in store.step_tasks(job.id, 0)) == [1, 2, 3]


def test_a_commit_racing_with_the_end_of_the_step_is_in_time_or_late_and_never_both(
    store: Store, job: JobRow, begin: Begin, in_threads: InThreads
) -> None:
    for number in range(6):
        (task,) = begin(number, "site-1")

        def act(which: int, number: int = number, task: NewTask = task) -> Any:
            if which == number % 2:
                return store.close_step(job.id, number, {})
            return store.commit_result(task.id, "site-1", 1, "OK", {})

        commit = in_threads(2, act)[1 - number % 2]
        stored = store.task(task.id)
        if commit.outcome is CommitOutcome.ACCEPTED:
            assert (stored.state, stored.rc) == (TaskState.DONE, "OK")
        else:
            assert commit.outcome is CommitOutcome.LATE
            assert (stored.state, stored.rc) == (TaskState.CANCELLED, "")


def test_a_result_of_a_cancelled_task_is_late(store: Store, job: JobRow, begin: Begin) -> None:
    (task,) = begin(0, "site-1")
    store.close_step(job.id, 0, {})
    for _ in range(2):
        commit = store.commit_result(task.id, "site-1", 1, "OK", {}, BLOB)
        assert commit.outcome is CommitOutcome.LATE
        assert commit.error == f"step 0 of job {job.id} has ended"
    assert store.task(task.id).result_blob is None
    assert store.job_sites(job.id)[0].bytes_up == 0


def test_a_refused_result_ends_its_task_with_the_reason(
    store: Store, job: JobRow, begin: Begin
) -> None:
    (task,) = begin(0, "site-1")
    args = (task.id, "site-1", 1, "RESULT_NOT_FINITE", {}, BLOB, "layer1 has NaN")
    first = store.commit_result(*args, refused=True)
    second = store.commit_result(*args, refused=True)
    assert first.outcome is CommitOutcome.REFUSED
    assert (second.outcome, second.rc) == (CommitOutcome.DUPLICATE, "RESULT_NOT_FINITE")
    assert store.task(task.id).error == "layer1 has NaN"


def test_a_result_counts_even_if_the_lease_ran_out_or_was_never_taken(
    clocked_store: Store, store_clock: Any, submit: Callable[..., JobRow]
) -> None:
    job = submit(clocked_store, "site-1")
    tasks = [NewTask("t1", "site-1", "train"), NewTask("t2", "site-1", "train")]
    clocked_store.begin_step(job.id, 0, "send", {}, tasks)
    clocked_store.next_task(job.id, "site-1", "cj", [], 60)
    store_clock.advance(3600)
    for task in tasks:
        commit = clocked_store.commit_result(task.id, "site-1", 3, "OK", {})
        assert commit.outcome is CommitOutcome.ACCEPTED
        assert commit.task.attempt == 3


def test_a_site_cannot_commit_for_another(store: Store, job: JobRow, begin: Begin) -> None:
    (task,) = begin(0, "site-1")
    with pytest.raises(NotYoursError, match=f"task {task.id} is not one of site site-2"):
        store.commit_result(task.id, "site-2", 1, "OK", {})
    with pytest.raises(UnknownRowError, match="there is no task nothing"):
        store.commit_result("nothing", "site-1", 1, "OK", {})


def test_a_blob_is_a_sites_if_it_sent_it_or_was_given_it(store: Store, begin: Begin) -> None:
    begin(0, "site-1", blob=BLOB)
    other = BlobRef(digest="b" * 64, size=1)
    for _ in range(2):
        store.put_blob("site-2", other)
    assert store.has_blob("site-1", BLOB.digest)
    assert store.has_blob("site-2", other.digest)
    assert not store.has_blob("site-2", BLOB.digest)
    assert store.was_given("site-1", BLOB.digest)
    assert not store.was_given("site-2", other.digest)
    assert not store.has_blob("site-1", other.digest)


# ---- who is woken ---------------------------------------------------------------------------


def test_a_queued_task_wakes_its_site_and_a_result_wakes_the_workflow(
    store: Store, job: JobRow, begin: Begin, wakeups: Wakeups
) -> None:
    site, other = wakeups.version(site_topic("site-1")), wakeups.version(site_topic("site-2"))
    (task,) = begin(0, "site-1")
    assert wakeups.version(site_topic("site-1")) > site
    assert wakeups.version(site_topic("site-2")) == other

    workflow = wakeups.version(job_topic(job.id))
    store.commit_result(task.id, "site-1", 1, "OK", {})
    assert wakeups.version(job_topic(job.id)) > workflow


def test_a_cancelled_task_wakes_who_holds_it(
    store: Store, job: JobRow, begin: Begin, wakeups: Wakeups
) -> None:
    (task,) = begin(0, "site-1")
    version = wakeups.version(task_topic(task.id))
    store.close_step(job.id, 0, {})
    assert wakeups.version(task_topic(task.id)) > version
