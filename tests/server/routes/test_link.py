"""The link over real HTTP: what a site asks and what it gets, each call once and twice."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from federant.exchange import HeaderKey, ReturnCode
from federant.link import BlobRef, LinkClient, LinkRefused, blob_ref
from federant.link.messages import (
    CommitOutcome,
    ErrorCode,
    Event,
    HoldState,
    JobState,
    SiteJobState,
    SiteState,
)
from federant.server.blobs import FolderBlobs
from federant.server.retention import Retention
from federant.server.routes.services import Services
from federant.server.state import JobRow, NewTask, Store, TaskState, task_id
from federant.server.wakeups import Wakeups

Link = Callable[[str], LinkClient]

LONG = 60.0
DATA = b"frame" * 100_000
BLOB = blob_ref([DATA])


def chunks_of(data: bytes) -> Callable[[int], list[memoryview]]:
    return lambda offset: [memoryview(data)[offset:]]


@pytest.fixture
def job(store: Store, submit: Callable[..., JobRow]) -> JobRow:
    return submit(store, "site-1", "site-2")


@pytest.fixture
def task(store: Store, job: JobRow, blobs: FolderBlobs) -> NewTask:
    """A task of site-1 whose body is a blob."""
    blob = blobs.put([DATA])
    new = NewTask(task_id(job.id, 0, "site-1"), "site-1", "train", {"current_round": 1}, blob=blob)
    store.begin_step(job.id, 0, "broadcast", {}, [new])
    return new


class Waiting:
    """A call that waits at the server, in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._answers: list[Any] = []
        self._thread = threading.Thread(target=lambda: self._answers.append(call()))
        self._thread.start()

    def answer(self) -> Any:
        self._thread.join(LONG)
        return self._answers[0]


# ---- hello and jobs -------------------------------------------------------------------------


def test_hello_names_the_server_and_makes_the_site_known(link: Link, store: Store) -> None:
    for _ in range(2):
        reply = link("site-1").hello("place-1")
    assert (reply.version, reply.server_id) == (1, "s-test")
    assert [(site.name, site.instance) for site in store.sites()] == [("site-1", "place-1")]


def test_a_second_daemon_under_a_sites_name_is_refused_while_the_first_is_alive(
    link: Link, store: Store
) -> None:
    link("site-1").hello("place-1")
    with pytest.raises(LinkRefused, match="site-1 already runs as instance place-1") as caught:
        link("site-1").hello("place-2")
    assert caught.value.code == ErrorCode.CONFLICT
    assert [site.instance for site in store.sites()] == ["place-1"]


def test_jobs_that_differ_from_those_known_are_told_at_once(link: Link, job: JobRow) -> None:
    (told,) = link("site-1").next_jobs({}, LONG)
    assert (told.job_id, told.trainer, told.state) == (job.id, "digits", SiteJobState.RUNNING)


def test_a_waiting_site_is_told_of_a_new_job(
    link: Link, store: Store, submit: Callable[..., JobRow]
) -> None:
    waiting = Waiting(lambda: link("site-1").next_jobs({}, LONG))
    job = submit(store, "site-1")
    assert [told.job_id for told in waiting.answer()] == [job.id]


def test_a_site_that_asks_is_told_at_once_what_was_revoked(link: Link, store: Store) -> None:
    store.revoke("2a", "agent", "lost", "operator")
    store.revoke("1f", "agent", "lost", "operator")
    told = link("site-1").next_news({}, LONG, "").revoked
    assert told is not None
    assert told.serials == ("1f", "2a")
    assert link("site-1").next_news({}, 0.0, told.version).revoked is None
    assert link("site-1").next_news({}, 0.0).revoked is None


def test_a_waiting_site_is_told_of_a_revocation(link: Link, store: Store) -> None:
    site = link("site-1")
    site.hello("place-1")
    before = site.next_news({}, LONG, "").revoked
    assert before is not None
    assert before.serials == ()
    waiting = Waiting(lambda: site.next_news({}, LONG, before.version))
    store.revoke("1f", "agent", "lost", "operator")
    after = waiting.answer().revoked
    assert after.serials == ("1f",)
    assert after.version != before.version


def test_a_site_is_told_that_a_job_stops_and_that_it_has_ended(
    link: Link, store: Store, job: JobRow
) -> None:
    client = link("site-1")
    known = {job.id: SiteJobState.RUNNING}
    waiting = Waiting(lambda: client.next_jobs(known, LONG))
    store.request_stop(job.id)
    assert [told.state for told in waiting.answer()] == [SiteJobState.STOPPING]

    known = {job.id: SiteJobState.STOPPING}
    waiting = Waiting(lambda: client.next_jobs(known, LONG))
    store.set_job_state(job.id, JobState.STOPPED)
    assert [told.state for told in waiting.answer()] == [SiteJobState.ENDED]


def test_an_ended_job_that_is_known_as_ended_is_no_news(
    link: Link, store: Store, job: JobRow
) -> None:
    store.set_job_state(job.id, JobState.FINISHED)
    assert [j.state for j in link("site-1").next_jobs({job.id: SiteJobState.ENDED}, 0.01)] == [
        SiteJobState.ENDED
    ]
    assert link("site-1").next_jobs({}, 0) == ()


def test_a_job_that_the_server_does_not_know_has_ended(link: Link) -> None:
    (told,) = link("site-1").next_jobs({"lost": SiteJobState.RUNNING}, LONG)
    assert (told.job_id, told.state) == ("lost", SiteJobState.ENDED)


def test_to_a_site_that_was_away_a_job_that_was_deleted_has_ended(
    link: Link, store: Store, blobs: FolderBlobs, job: JobRow
) -> None:
    site = link("site-1")
    store.set_job_state(job.id, JobState.STOPPED)
    Retention(store, blobs).delete_job(job.id)
    (told,) = site.next_jobs({job.id: SiteJobState.RUNNING}, LONG)
    assert (told.job_id, told.state) == (job.id, SiteJobState.ENDED)
    late = Event(id="e", kind="METRIC", tag="loss", value=1.0)
    for call in (
        lambda: site.next_task(job.id, "holder"),
        lambda: site.add_events(job.id, [late]),
        lambda: site.report_site_state(job.id, SiteState.ENDED),
    ):
        with pytest.raises(LinkRefused, match="was deleted on") as refused:
            call()
        assert refused.value.code == ErrorCode.NOT_FOUND


def test_a_site_that_refuses_a_job_says_why(link: Link, store: Store, job: JobRow) -> None:
    for _ in range(2):
        link("site-1").report_site_state(job.id, SiteState.REFUSED, "no trainer 'digits'")
    part = store.job_sites(job.id)[0]
    assert (part.state, part.text) == (SiteState.REFUSED, "no trainer 'digits'")


def test_hello_site_state_and_renew_twice_are_once(
    link: Link, store: Store, wakeups: Wakeups, job: JobRow, task: NewTask
) -> None:
    client = link("site-1")
    calls: list[Callable[[], Any]] = [
        lambda: client.hello("place-1"),
        lambda: client.report_site_state(job.id, SiteState.READY, "here"),
        lambda: client.renew(task.id, "cj"),
    ]

    def kept() -> list[Any]:
        known = [
            (site.name, site.instance, site.features, site.first_seen) for site in store.sites()
        ]
        leased = store.task(task.id)
        return [
            known,
            store.jobs(),
            store.job_sites(job.id),
            leased,
            wakeups.version(f"job:{job.id}"),
        ]

    for call in calls:
        before = kept()
        first, after = call(), kept()
        second, later = call(), kept()
        assert first == second
        assert before != after == later
    assert [site.instance for site in store.sites()] == ["place-1"]
    assert [part.text for part in store.job_sites(job.id)] == ["here", ""]
    assert (store.task(task.id).attempt, store.task(task.id).holder) == (1, "cj")


# ---- tasks ----------------------------------------------------------------------------------


def test_a_task_arrives_as_it_was_queued(link: Link, job: JobRow, task: NewTask) -> None:
    reply = link("site-1").next_task(job.id, "cj")
    assert reply.job_state is SiteJobState.RUNNING
    assert reply.task is not None
    assert reply.task.task_id == task.id
    assert (reply.task.attempt, reply.task.name) == (1, "train")
    assert reply.task.headers == {"current_round": 1}
    assert reply.task.blob == BLOB
    assert reply.task.deadline_seconds is None


def test_a_waiting_client_job_gets_a_task_when_it_is_queued(
    link: Link, store: Store, job: JobRow
) -> None:
    waiting = Waiting(lambda: link("site-1").next_task(job.id, "cj", wait_seconds=LONG))
    store.begin_step(job.id, 0, "send", {}, [NewTask("t", "site-1", "train")])
    assert waiting.answer().task.task_id == "t"


def test_asking_twice_gives_the_same_task_and_holding_it_gives_the_next(
    link: Link, store: Store, job: JobRow, task: NewTask
) -> None:
    client = link("site-1")
    assert client.next_task(job.id, "cj").task == client.next_task(job.id, "cj").task
    assert client.next_task(job.id, "cj", holding=[task.id]).task is None


def test_a_waiting_client_job_is_told_that_its_job_ended(
    link: Link, store: Store, job: JobRow
) -> None:
    waiting = Waiting(lambda: link("site-1").next_task(job.id, "cj", wait_seconds=LONG))
    store.set_job_state(job.id, JobState.FINISHED)
    reply = waiting.answer()
    assert (reply.task, reply.job_state) == (None, SiteJobState.ENDED)


def test_what_is_left_of_a_deadline_travels_with_the_task(
    link: Link, store: Store, job: JobRow
) -> None:
    deadline = store.job(job.id).created + 1000
    store.begin_step(job.id, 0, "send", {}, [NewTask("t", "site-1", "train", deadline=deadline)])
    task = link("site-1").next_task(job.id, "cj").task
    assert task is not None
    assert task.deadline_seconds is not None
    assert 0 < task.deadline_seconds <= 1000


def test_a_waiting_renewal_is_told_that_the_task_was_cancelled(
    link: Link, store: Store, job: JobRow, task: NewTask
) -> None:
    client = link("site-1")
    assert client.renew(task.id, "cj").state is HoldState.HELD
    waiting = Waiting(lambda: client.renew(task.id, "cj", wait_seconds=LONG))
    store.close_step(job.id, 0, {})
    reply = waiting.answer()
    assert reply.state is HoldState.CANCELLED
    assert reply.reason == f"step 0 of job {job.id} has ended"


def test_no_cancellation_is_lost_between_two_renewals(
    link: Link, store: Store, job: JobRow, task: NewTask
) -> None:
    store.close_step(job.id, 0, {})
    assert link("site-1").renew(task.id, "cj", wait_seconds=LONG).state is HoldState.CANCELLED


# ---- blobs ----------------------------------------------------------------------------------


def test_the_bytes_of_a_task_are_counted_once_with_its_result(
    link: Link, store: Store, job: JobRow, task: NewTask
) -> None:
    client = link("site-1")
    for _ in range(2):
        assert client.read_blob(BLOB) == DATA
    assert store.job_sites(job.id)[0].bytes_down == 0
    for _ in range(2):
        client.commit_result(task.id, 1, ReturnCode.EXECUTION_EXCEPTION)
    part = store.job_sites(job.id)[0]
    assert (part.bytes_up, part.bytes_down) == (0, len(DATA))


def test_a_download_goes_on_from_what_is_there(link: Link, task: NewTask, tmp_path: Any) -> None:
    (tmp_path / "task.part").write_bytes(DATA[:1000])
    link("site-1").download_blob(BLOB, tmp_path / "task")
    assert (tmp_path / "task").read_bytes() == DATA


def test_a_site_does_not_get_the_blob_of_anothers_task(link: Link, task: NewTask) -> None:
    with pytest.raises(LinkRefused, match="site site-2 was given no task") as caught:
        link("site-2").read_blob(BLOB)
    assert caught.value.code == ErrorCode.NOT_FOUND


def test_a_blob_is_sent_once_and_not_again(link: Link, blobs: FolderBlobs) -> None:
    client = link("site-1")
    assert [missing.offset for missing in client.missing_blobs([BLOB])] == [0]
    client.put_blob(BLOB, chunks_of(DATA))
    assert client.missing_blobs([BLOB]) == ()
    assert blobs.path(BLOB.digest).read_bytes() == DATA

    def not_again(_: int) -> list[bytes]:
        raise AssertionError("the blob is there")

    client.put_blob(BLOB, not_again)


def test_a_small_blob_is_sent_without_a_question_and_twice_is_once(
    link: Link, blobs: FolderBlobs
) -> None:
    small = blob_ref([b"tiny"])
    for _ in range(2):
        link("site-1").put_blob(small, chunks_of(b"tiny"))
    assert blobs.size(small.digest) == 4


def test_a_blob_goes_on_from_where_its_transfer_was_cut(link: Link, blobs: FolderBlobs) -> None:
    upload = blobs.begin(BLOB, "site-1", 0)
    upload.write(DATA[:300_000])
    upload.close()
    offsets: list[int] = []

    def chunks(offset: int) -> list[bytes]:
        offsets.append(offset)
        return [DATA[offset:]]

    link("site-1").put_blob(BLOB, chunks)
    assert offsets == [300_000]
    assert blobs.path(BLOB.digest).read_bytes() == DATA


def test_what_another_site_sent_is_missing_all_the_same(link: Link) -> None:
    link("site-2").put_blob(BLOB, chunks_of(DATA))
    assert link("site-1").missing_blobs([BLOB]) != ()


def test_a_blob_that_is_not_what_its_digest_says_is_refused(link: Link, blobs: FolderBlobs) -> None:
    with pytest.raises(LinkRefused, match="has the digest") as caught:
        link("site-1").put_blob(BLOB, chunks_of(b"x" * len(DATA)))
    assert caught.value.code == ErrorCode.BLOB_DIGEST
    assert blobs.size(BLOB.digest) is None


# ---- results --------------------------------------------------------------------------------


def test_a_result_is_accepted_once_and_then_known(
    link: Link, store: Store, job: JobRow, task: NewTask
) -> None:
    client = link("site-1")
    result = b"result"
    blob = blob_ref([result])
    client.put_blob(blob, chunks_of(result))
    first = client.commit_result(task.id, 1, ReturnCode.OK, {"weight": 12.5}, blob)
    second = client.commit_result(task.id, 1, ReturnCode.OK, {"weight": 12.5}, blob)
    assert (first.outcome, second.outcome) == (CommitOutcome.ACCEPTED, CommitOutcome.DUPLICATE)
    stored = store.task(task.id)
    assert (stored.state, stored.result_blob) == (TaskState.DONE, blob)
    assert stored.result_headers == {"weight": 12.5}


def test_a_failed_task_is_committed_with_its_text(link: Link, store: Store, task: NewTask) -> None:
    headers = {HeaderKey.ERROR: "Traceback: boom", "loss": float("nan")}
    link("site-1").commit_result(task.id, 1, ReturnCode.EXECUTION_EXCEPTION, headers)
    stored = store.task(task.id)
    assert (stored.rc, stored.error) == (ReturnCode.EXECUTION_EXCEPTION, "Traceback: boom")
    assert str(stored.result_headers["loss"]).casefold() == "nan"


def test_a_result_whose_blob_was_not_put_is_refused_and_the_task_stays_open(
    link: Link, store: Store, task: NewTask
) -> None:
    blob = BlobRef(digest="c" * 64, size=3)
    with pytest.raises(LinkRefused, match="put it, then commit again") as caught:
        link("site-1").commit_result(task.id, 1, ReturnCode.OK, {}, blob)
    assert caught.value.code == ErrorCode.BLOB_MISSING
    assert store.task(task.id).state.open


def test_a_site_cannot_name_the_result_that_another_sent(link: Link, task: NewTask) -> None:
    other = blob_ref([b"theirs"])
    link("site-2").put_blob(other, chunks_of(b"theirs"))
    with pytest.raises(LinkRefused, match="has not put blob"):
        link("site-1").commit_result(task.id, 1, ReturnCode.OK, {}, other)


def test_a_result_of_an_ended_step_is_late(
    link: Link, store: Store, job: JobRow, task: NewTask
) -> None:
    store.close_step(job.id, 0, {})
    reply = link("site-1").commit_result(task.id, 1, ReturnCode.OK)
    assert reply.outcome is CommitOutcome.LATE


@pytest.mark.parametrize(
    "call",
    [
        lambda client, task: client.renew(task.id, "cj"),
        lambda client, task: client.commit_result(task.id, 1, ReturnCode.OK),
    ],
    ids=["renew", "commit"],
)
def test_a_task_of_another_site_is_none_of_ones_business(
    link: Link, task: NewTask, call: Callable[[LinkClient, NewTask], Any]
) -> None:
    with pytest.raises(LinkRefused, match="is not one of site site-2") as caught:
        call(link("site-2"), task)
    assert (caught.value.code, caught.value.status) == (ErrorCode.FORBIDDEN, 403)


def test_events_arrive_once(link: Link, store: Store, job: JobRow) -> None:
    events = [Event(id="1", kind="METRIC", tag="loss", value=float("nan"), step=1)]
    for _ in range(2):
        link("site-1").add_events(job.id, events)
    (row,) = store.events(job.id)
    assert (row.site, row.tag, str(row.value)) == ("site-1", "loss", "nan")


def test_a_site_adds_no_events_to_a_job_of_others(
    link: Link, store: Store, submit: Callable[..., JobRow]
) -> None:
    job = submit(store, "site-1")
    with pytest.raises(LinkRefused, match="takes no part"):
        link("site-2").add_events(job.id, [Event(id="1", kind="TEXT")])


def test_long_polls_hold_no_other_call_up(link: Link, services: Services, job: JobRow) -> None:
    client = link("site-1")
    polls = [Waiting(lambda: client.next_task(job.id, "cj", wait_seconds=LONG)) for _ in range(20)]
    assert client.hello("run").server_id == "s-test"
    services.wakeups.close()
    assert all(poll.answer().task is None for poll in polls)


def test_an_event_refers_to_what_its_site_has_put(
    link: Link, store: Store, job: JobRow, blobs: FolderBlobs
) -> None:
    event = Event(id="1", kind="IMAGE", tag="sample", blob=BLOB)
    with pytest.raises(LinkRefused, match="which an event refers to; put it") as caught:
        link("site-1").add_events(job.id, [event])
    assert caught.value.code == ErrorCode.BLOB_MISSING
    link("site-1").put_blob(BLOB, chunks_of(DATA))
    link("site-1").add_events(job.id, [event])
    (row,) = store.events(job.id)
    assert row.blob == BLOB
    assert blobs.path(BLOB.digest).read_bytes() == DATA


def test_an_event_refers_to_nothing_that_only_another_site_has_put(
    link: Link, store: Store, job: JobRow
) -> None:
    link("site-1").put_blob(BLOB, chunks_of(DATA))
    with pytest.raises(LinkRefused, match=f"site site-2 has not put blob {BLOB.digest}"):
        link("site-2").add_events(job.id, [Event(id="1", kind="IMAGE", blob=BLOB)])
    assert store.events(job.id) == []
