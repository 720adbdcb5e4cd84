"""The operator's calls over real HTTP: submit, follow, stop, fetch models, see sites."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import urllib3

from federant.link import BlobRef, HttpCaller, blob_ref
from federant.link.messages import Done, Event, JobSpec, JobState, SiteState
from federant.link.operator_messages import (
    JobEventsReply,
    JobsReply,
    JobView,
    ModelsReply,
    SitesReply,
)
from federant.server.blobs import FolderBlobs
from federant.server.state import JobRow, NewTask, Store

API = "/api/v1"
LONG = 60.0
MODEL = b"a frame" * 1000


@pytest.fixture
def http(server_url: str) -> Iterator[HttpCaller]:
    caller = HttpCaller(server_url)
    yield caller
    caller.close()


@pytest.fixture
def job(store: Store, submit: Callable[..., JobRow]) -> JobRow:
    return submit(store, "site-1", "site-2")


def _fetch(http: HttpCaller, path: str, start: int = 0) -> bytes:
    with http.receive(path, start) as incoming:
        return incoming.all()


def test_a_submitted_job_is_seen_in_the_list_and_by_its_id(http: HttpCaller) -> None:
    spec = JobSpec(name="digits", trainer="digits", sites=("site-1",), params={"rounds": 2})
    view = http.call("POST", f"{API}/jobs", JobView, spec)
    assert (view.spec, view.state) == (spec, JobState.SUBMITTED)
    assert [(part.site, part.state) for part in view.sites] == [("site-1", SiteState.PENDING)]
    assert http.call("GET", f"{API}/jobs", JobsReply).jobs == (view,)
    assert http.call("GET", f"{API}/jobs/{view.id}", JobView) == view


def test_submitting_twice_under_ones_own_id_is_submitting_once(http: HttpCaller) -> None:
    spec = JobSpec(name="digits", trainer="digits")
    first = http.call("POST", f"{API}/jobs?id=mine", JobView, spec)
    assert http.call("POST", f"{API}/jobs?id=mine", JobView, spec) == first
    assert len(http.call("GET", f"{API}/jobs", JobsReply).jobs) == 1


def test_a_job_starts_from_an_initial_model_that_was_put(http: HttpCaller) -> None:
    blob = blob_ref([MODEL])
    for _ in range(2):
        path = f"{API}/blobs/{blob.digest}?size={blob.size}"
        http.send(path, [memoryview(MODEL)], blob.size, Done)
    spec = JobSpec(name="digits", trainer="digits", initial_model=blob)
    assert http.call("POST", f"{API}/jobs", JobView, spec).spec.initial_model == blob


def test_the_view_of_a_job_tells_how_far_it_is(http: HttpCaller, store: Store, job: JobRow) -> None:
    store.set_job_state(job.id, JobState.RUNNING)
    given, sent = BlobRef(digest="a" * 64, size=9), BlobRef(digest="b" * 64, size=7)
    task = NewTask("t", "site-1", "train", blob=given)
    store.begin_step(job.id, 4, "broadcast", {"round": 2, "total_rounds": 10}, [task])
    store.set_site_state(job.id, "site-1", SiteState.READY, "")
    store.commit_result("t", "site-1", 1, "OK", {}, sent)
    view = http.call("GET", f"{API}/jobs/{job.id}", JobView)
    assert (view.state, view.step, view.round, view.total_rounds) == (JobState.RUNNING, 4, 2, 10)
    part = view.sites[0]
    assert (part.state, part.bytes_up, part.bytes_down) == (SiteState.READY, 7, 9)
    assert view.started is not None


def test_a_round_is_told_also_when_later_steps_belong_to_none(
    http: HttpCaller, store: Store, job: JobRow
) -> None:
    store.begin_step(job.id, 0, "sites", {})
    store.begin_step(job.id, 1, "broadcast", {"round": 0, "total_rounds": 1})
    store.begin_step(job.id, 2, "model", {"call": {"round": 0}})
    view = http.call("GET", f"{API}/jobs/{job.id}", JobView)
    assert (view.step, view.round, view.total_rounds) == (2, 0, 1)


def test_the_view_of_a_job_tells_how_many_sites_it_waits_for(
    http: HttpCaller, store: Store, job: JobRow
) -> None:
    def wanted() -> int | None:
        return http.call("GET", f"{API}/jobs/{job.id}", JobView).sites_wanted

    store.begin_step(job.id, 0, "wait_for_sites", {"call": {"count": 2}})
    assert wanted() == 2
    store.close_step(job.id, 0, {"sites": ["site-1", "site-2"]})
    assert wanted() is None


def test_the_view_of_a_job_tells_whose_results_it_waits_for(
    http: HttpCaller, store: Store, job: JobRow
) -> None:
    tasks = [NewTask(f"t-{site}", site, "train") for site in ("site-1", "site-2")]
    store.begin_step(job.id, 0, "broadcast", {"round": 0}, tasks)
    store.set_site_state(job.id, "site-1", SiteState.FAILED, "")
    assert http.call("GET", f"{API}/jobs/{job.id}", JobView).awaited == ("site-2",)
    store.set_job_state(job.id, JobState.STOPPED)
    assert http.call("GET", f"{API}/jobs/{job.id}", JobView).awaited == ()


def test_stopping_twice_is_stopping_once(http: HttpCaller, job: JobRow) -> None:
    first = http.call("POST", f"{API}/jobs/{job.id}/stop", JobView)
    assert first.stop_requested
    assert http.call("POST", f"{API}/jobs/{job.id}/stop", JobView) == first


def test_events_are_followed_as_they_come_to_the_end_of_the_job(
    http: HttpCaller, store: Store, job: JobRow
) -> None:
    seen: list[str] = []
    after = threading.Event()

    def follow() -> None:
        place = 0
        while True:
            path = f"{API}/jobs/{job.id}/events?after={place}&wait_seconds={LONG}"
            reply = http.call("GET", path, JobEventsReply, wait_seconds=LONG)
            seen.extend(event.id for event in reply.events)
            place = reply.next
            if seen:
                after.set()
            if reply.job_state.ended and not reply.events:
                return

    follower = threading.Thread(target=follow)
    follower.start()
    store.add_events(job.id, "site-1", [Event(id="1", kind="METRIC", value=1.0)])
    assert after.wait(LONG)
    store.add_events(job.id, "site-2", [Event(id="2", kind="TEXT", text="hello")])
    store.set_job_state(job.id, JobState.FINISHED)
    follower.join(LONG)
    assert seen == ["1", "2"]


def test_after_the_end_whoever_waits_is_woken_by_what_comes_late_and_by_the_last_sites_leaving(
    http: HttpCaller, store: Store, job: JobRow
) -> None:
    def later(after: int) -> JobEventsReply:
        query = f"after={after}&wait_seconds={LONG}&late_seconds={LONG}"
        path = f"{API}/jobs/{job.id}/events?{query}"
        return http.call("GET", path, JobEventsReply, wait_seconds=LONG)

    store.set_site_state(job.id, "site-1", SiteState.READY)
    store.set_job_state(job.id, JobState.FINISHED)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(later, 0)
        store.add_events(job.id, "site-1", [Event(id="late", kind="METRIC", value=1.0)])
        reply = waiting.result(LONG)
        assert ([event.id for event in reply.events], reply.more) == (["late"], True)
        waiting = pool.submit(later, reply.next)
        store.set_site_state(job.id, "site-1", SiteState.ENDED)
        reply = waiting.result(LONG)
        assert (reply.events, reply.more) == ((), False)


def test_a_loss_that_is_not_a_number_reaches_the_operator_as_such(
    http: HttpCaller, store: Store, job: JobRow
) -> None:
    store.add_events(job.id, "site-1", [Event(id="1", kind="METRIC", value=float("nan"))])
    (event,) = http.call("GET", f"{API}/jobs/{job.id}/events", JobEventsReply).events
    assert str(event.value) == "nan"


def test_models_are_fetched_by_round_and_the_latest_and_from_an_offset(
    http: HttpCaller, store: Store, blobs: FolderBlobs, job: JobRow
) -> None:
    for number, data in ((0, b"first"), (1, MODEL)):
        store.save_model(job.id, number, blobs.put([data]), {"loss": 1.0})
    models = http.call("GET", f"{API}/jobs/{job.id}/models", ModelsReply).models
    assert [(model.round, model.metrics) for model in models] == [
        (0, {"loss": 1.0}),
        (1, {"loss": 1.0}),
    ]
    path = f"{API}/jobs/{job.id}/models"
    assert _fetch(http, f"{path}/0") == b"first"
    assert _fetch(http, f"{path}/latest") == MODEL
    assert _fetch(http, f"{path}/latest", start=5) == MODEL[5:]


@pytest.mark.parametrize(
    ("wanted", "status", "content_range"),
    [
        ("bytes=1-3", 206, "bytes 1-3/5"),
        ("bytes=3-", 206, "bytes 3-4/5"),
        ("bytes=2-99", 206, "bytes 2-4/5"),
        ("bytes=5-", 416, "bytes */5"),
        ("lines=1-2", 200, None),
    ],
)
def test_a_part_of_a_model_is_what_was_asked_for(
    server_url: str,
    store: Store,
    blobs: FolderBlobs,
    job: JobRow,
    wanted: str,
    status: int,
    content_range: str | None,
) -> None:
    store.save_model(job.id, 0, blobs.put([b"abcde"]))
    with urllib3.PoolManager() as http:
        url = f"{server_url}{API}/jobs/{job.id}/models/0"
        reply = http.request("GET", url, headers={"range": wanted})
    assert (reply.status, reply.headers.get("content-range")) == (status, content_range)
    if status == 416:
        assert "has 5 bytes: there is no part 'bytes=5-' of it" in reply.json()["message"]


def test_a_model_that_was_not_kept_is_named_with_those_that_were(
    server_url: str, store: Store, blobs: FolderBlobs, job: JobRow
) -> None:
    store.save_model(job.id, 3, blobs.put([MODEL]))
    with urllib3.PoolManager() as http:
        reply: Any = http.request("GET", f"{server_url}{API}/jobs/{job.id}/models/9")
    assert reply.status == 404
    message = f"job {job.id} has no model '9'; kept: 3, latest"
    assert json.loads(reply.data)["message"] == message


def test_sites_are_listed_with_what_they_said(http: HttpCaller, store: Store) -> None:
    store.seen_site("site-1", "place-1", ["long-poll"])
    (site,) = http.call("GET", f"{API}/sites", SitesReply).sites
    assert (site.name, site.instance, site.features) == ("site-1", "place-1", ("long-poll",))
    assert site.alive
    assert 0 <= site.silent_seconds < LONG


def test_a_task_that_is_queued_shows_in_no_view_of_another_job(
    http: HttpCaller, store: Store, submit: Callable[..., JobRow], job: JobRow
) -> None:
    other = submit(store, "site-1")
    store.begin_step(other.id, 0, "send", {}, [NewTask("t", "site-1", "train")])
    assert http.call("GET", f"{API}/jobs/{job.id}", JobView).step is None
