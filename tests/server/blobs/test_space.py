"""How much of the server a site may fill: what it puts counts until it is the result of a task."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from federant.link import BlobRef, LinkClient, LinkUnavailable, blob_ref
from federant.link.messages import ErrorCode, Event
from federant.server.blobs import FolderBlobs, SiteSpace
from federant.server.limits import Limits
from federant.server.routes.services import Services
from federant.server.state import JobRow, NewTask, Store

SIZE = 1000
PARTS = [bytes([number]) * SIZE for number in range(4)]


@pytest.fixture
def bounded(
    serving: Callable[[Services], AbstractContextManager[str]], services: Services
) -> Iterator[LinkClient]:
    """site-1's client of a server at which a site may have 2000 bytes that are no result."""
    with (
        serving(replace(services, site_bytes=2 * SIZE)) as url,
        LinkClient(url, "site-1") as client,
    ):
        yield client


def put(link: LinkClient, part: bytes) -> BlobRef:
    blob = blob_ref([part])
    link.put_blob(blob, lambda _: [part])
    return blob


def task_of(store: Store, job: JobRow) -> str:
    store.begin_step(job.id, 0, "broadcast", {}, [NewTask(id="t", site="site-1", name="train")])
    store.next_task(job.id, "site-1", "holder", (), 60.0)
    return "t"


def test_a_site_that_fills_its_share_is_refused_by_name_and_told_in_the_log(
    bounded: LinkClient, caplog: pytest.LogCaptureFixture
) -> None:
    for part in PARTS[:2]:
        put(bounded, part)
    with pytest.raises(LinkUnavailable, match="507 over_quota: site-1 would have 1000 bytes"):
        put(bounded, PARTS[2])
    (line,) = (each for each in caplog.messages if each.startswith("denied"))
    assert f"code={ErrorCode.OVER_QUOTA}" in line
    put(bounded, PARTS[0])  # which is there


def test_another_sites_share_is_its_own(bounded: LinkClient) -> None:
    for part in PARTS[:2]:
        put(bounded, part)
    with LinkClient(bounded.url, "site-2") as other:
        put(other, PARTS[2])


def test_what_has_become_a_result_counts_no_more(
    bounded: LinkClient, store: Store, submit: Callable[..., JobRow]
) -> None:
    task = task_of(store, submit(store, "site-1"))
    first = put(bounded, PARTS[0])
    put(bounded, PARTS[1])
    bounded.commit_result(task, 1, "EXECUTION_EXCEPTION", {}, first)
    put(bounded, PARTS[2])
    with pytest.raises(LinkUnavailable, match="over_quota"):
        put(bounded, PARTS[3])
    # A second time it is no first one.
    bounded.commit_result(task, 1, "EXECUTION_EXCEPTION", {}, first)
    with pytest.raises(LinkUnavailable, match="over_quota"):
        put(bounded, PARTS[3])


def test_a_server_that_is_started_again_knows_what_there_is(
    store: Store, submit: Callable[..., JobRow]
) -> None:
    task = task_of(store, submit(store, "site-1"))
    result, left = blob_ref([PARTS[0]]), blob_ref([PARTS[1]])
    for blob in (result, left):
        store.put_blob("site-1", blob)
    store.commit_result(task, "site-1", 1, "OK", {}, result)
    assert store.unused_bytes("site-1") == SIZE
    assert SiteSpace(store, 3 * SIZE).left("site-1") == 2 * SIZE
    assert SiteSpace(store, 3 * SIZE).left("site-2") == 3 * SIZE
    assert SiteSpace(store, None).left("site-1") is None


def test_metrics_do_not_fill_the_disk_either(
    serving: Callable[[Services], AbstractContextManager[str]],
    services: Services,
    store: Store,
    submit: Callable[..., JobRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(services.blobs, FolderBlobs)
    kept = FolderBlobs(services.blobs.disk.folder, keep_free_bytes=1000)
    job = submit(store, "site-1")
    free = shutil.disk_usage("/")._replace(free=999)
    with (
        serving(replace(services, blobs=kept)) as url,
        LinkClient(url, "site-1") as link,
    ):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
        with pytest.raises(LinkUnavailable, match="507 no_space"):
            link.add_events(job.id, [Event(id="e", kind="METRIC", tag="loss", value=1.0)])
        monkeypatch.undo()
        link.add_events(job.id, [Event(id="e", kind="METRIC", tag="loss", value=1.0)])


def test_unless_the_file_says_otherwise_a_site_may_fill_a_quarter_of_the_disk() -> None:
    assert Limits().site_bytes_on(4000) == 1000
    assert Limits(site_bytes=7).site_bytes_on(4000) == 7
