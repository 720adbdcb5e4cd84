"""Transfers over mutual TLS that are cut again and again: they go on, and send little twice."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from federant.link import LinkClient, LinkUnavailable, blob_ref
from federant.link.http import CHUNK_BYTES
from federant.link.messages import (
    LINK_PREFIX,
    SITE_HEADER,
    VERSION,
    VERSION_HEADER,
    TaskMessage,
)
from federant.provision import FederationKits
from federant.server.blobs import FolderBlobs
from federant.server.routes.services import Services
from federant.server.state import JobRow, NewTask, Store, task_id
from federant.site.leases import LeaseKeeper
from federant.testing import FaultProxy, Way

SIZE = 20_000_000
CUTS = 12
HOLDER = "holder"
LEASE_SECONDS = 3.0
LONG = 60.0
TLS_SHARE = 0.01
"""More than TLS adds: 22 bytes for each of at most 16 KiB."""
CONNECTION_BYTES = 20_000
"""More than shaking hands, a request and the question before it take."""


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(0).randbytes(SIZE)


@pytest.fixture
def proxy(url: str) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", int(url.rsplit(":", 1)[1])) as proxy:
        yield proxy


@pytest.fixture
def link(proxy: FaultProxy, kits: FederationKits) -> Iterator[LinkClient]:
    """A site whose every byte goes through the proxy."""
    url = f"https://localhost:{proxy.port}"
    with LinkClient(url, "site-1", kit=kits.sites["site-1"]) as link:
        yield link


def cut_at_random(proxy: FaultProxy, way: Way, seed: int) -> None:
    """At places that lie anywhere in the blob, also close to each other and to its ends."""
    places = sorted(random.Random(seed).sample(range(1, SIZE), CUTS))
    before = 0
    for place in places:
        proxy.cut_after(max(1, place - before), way)
        before = place


def until_done(act: Callable[[], object]) -> int:
    """Try again after each cut; how many there were."""
    for cuts in range(2 * CUTS):
        try:
            act()
        except LinkUnavailable:
            continue
        return cuts
    raise AssertionError("it never came to an end")


@contextmanager
def pauses() -> Iterator[list[float]]:
    """How long at most, in seconds, this process did not run meanwhile, though it wanted to."""
    longest, over = [0.0], threading.Event()

    def look() -> None:
        before = time.monotonic()
        while not over.wait(0.05):
            now = time.monotonic()
            longest[0] = max(longest[0], now - before)
            before = now

    thread = threading.Thread(target=look, name="pauses")
    thread.start()
    try:
        yield longest
    finally:
        over.set()
        thread.join()


def wait_until(look: Callable[[], bool]) -> bool:
    """Whether it comes, in time."""
    deadline = time.monotonic() + LONG
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def sent_again(proxy: FaultProxy, way: Way) -> float:
    """Bytes beyond one whole blob and what TLS and HTTP add."""
    return proxy.passed(way) - SIZE * (1 + TLS_SHARE) - proxy.accepted * CONNECTION_BYTES


def chunks_of(data: bytes) -> Callable[[int], Iterator[memoryview]]:
    view = memoryview(data)
    return lambda offset: (
        view[at : at + CHUNK_BYTES] for at in range(offset, len(view), CHUNK_BYTES)
    )


@pytest.fixture
def job(store: Store, submit: Callable[..., JobRow]) -> JobRow:
    return submit(store, "site-1")


@pytest.fixture
def given(
    link: LinkClient, blobs: FolderBlobs, store: Store, job: JobRow, data: bytes
) -> TaskMessage:
    """A task of the site's whose body is the blob, leased to a holder for a moment."""
    blob = blobs.put([data])
    task = NewTask(task_id(job.id, 0, "site-1"), "site-1", "train", {}, blob=blob)
    store.begin_step(job.id, 0, "broadcast", {}, [task])
    reply = link.next_task(job.id, HOLDER, lease_seconds=LEASE_SECONDS)
    assert reply.task is not None
    return reply.task


@pytest.mark.parametrize("seed", range(3))
def test_an_upload_that_is_cut_sends_at_most_one_chunk_a_cut_again(
    link: LinkClient, proxy: FaultProxy, blobs: FolderBlobs, data: bytes, seed: int
) -> None:
    blob = blob_ref([data])
    cut_at_random(proxy, Way.UP, seed)
    cuts = until_done(lambda: link.put_blob(blob, chunks_of(data)))
    assert cuts > CUTS / 2
    assert blobs.path(blob.digest).read_bytes() == data
    assert sent_again(proxy, Way.UP) <= cuts * CHUNK_BYTES


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("into", ["memory", "file"])
def test_a_download_that_is_cut_gets_at_most_one_chunk_a_cut_again(
    link: LinkClient,
    proxy: FaultProxy,
    given: TaskMessage,
    tmp_path: Path,
    data: bytes,
    seed: int,
    into: str,
) -> None:
    place = tmp_path / "received"
    cut_at_random(proxy, Way.DOWN, seed)

    def receive() -> None:
        assert given.blob is not None
        if into == "file":
            link.download_blob(given.blob, place)
        else:
            place.write_bytes(link.read_blob(given.blob))

    until_done(receive)
    assert proxy.accepted > CUTS / 2
    assert place.read_bytes() == data
    assert sent_again(proxy, Way.DOWN) <= proxy.accepted * CHUNK_BYTES


@pytest.mark.parametrize("way", list(Way), ids=[way.value for way in Way])
def test_a_transfer_on_a_line_where_nothing_passes_is_given_up_and_goes_on_later(
    proxy: FaultProxy,
    kits: FederationKits,
    given: TaskMessage,
    blobs: FolderBlobs,
    tmp_path: Path,
    data: bytes,
    way: Way,
) -> None:
    place = tmp_path / "received"
    other = bytes(reversed(data))
    blob = blob_ref([other])
    url = f"https://localhost:{proxy.port}"
    with LinkClient(url, "site-1", kit=kits.sites["site-1"], read_seconds=2.0) as link:

        def transfer() -> None:
            assert given.blob is not None
            if way is Way.UP:
                link.put_blob(blob, chunks_of(other))
            else:
                link.download_blob(given.blob, place)

        stalls = threading.Event()

        def transfer_until_it_stalls() -> None:
            while True:
                # A machine that stands still is as a line on which nothing passes.
                with nullcontext() if stalls.is_set() else suppress(LinkUnavailable):
                    return transfer()

        proxy.rate(SIZE / 10)
        before = proxy.passed(way)
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(transfer_until_it_stalls)
            assert proxy.wait_until(lambda proxy: proxy.passed(way) > before + 1_000_000, LONG)
            stalls.set()
            proxy.stall()
            with pytest.raises(LinkUnavailable):
                under_way.result(LONG)
        proxy.rate(None)
        proxy.resume()
        until_done(transfer)
    if way is Way.UP:
        assert blobs.path(blob.digest).read_bytes() == other
    else:
        assert place.read_bytes() == data


def test_an_upload_that_outlasts_every_limit_is_no_dead_peer_and_its_task_stays_its_own(
    link: LinkClient,
    proxy: FaultProxy,
    kits: FederationKits,
    job: JobRow,
    given: TaskMessage,
    store: Store,
    data: bytes,
) -> None:
    part = data[:2_000_000]
    voided: list[str] = []
    url = f"https://localhost:{proxy.port}"
    with LinkClient(url, "site-1", kit=kits.sites["site-1"], read_seconds=3.0) as slow:
        leases = LeaseKeeper(
            slow,
            HOLDER,
            lambda task, _reason: voided.append(task),
            lease_seconds=LEASE_SECONDS,
            wait_seconds=LEASE_SECONDS / 8,
        )
        leases.hold(given.task_id)
        until = store.task(given.task_id).lease_until
        # Longer than a call may take without a byte, and than the task is leased for.
        proxy.rate(len(part) / (2 * LEASE_SECONDS))
        accepted = proxy.accepted
        with pauses() as longest:
            cuts = until_done(lambda: slow.put_blob(blob_ref([part]), chunks_of(part)))
        proxy.rate(None)
        renewed = store.task(given.task_id).lease_until
        assert renewed > until
        # One whose lease had run out would be given out as another attempt.  A moment after it was
        # renewed a machine that stalls has all of it before it.
        assert wait_until(lambda: store.task(given.task_id).lease_until > renewed)
        again = link.next_task(job.id, HOLDER).task
        assert again is not None
        assert again.attempt == given.attempt
        leases.stop()
        # On a machine that stands still no byte goes either, and the other side may be gone.
        assert (cuts == 0 and proxy.accepted <= accepted + 2) or longest[0] > 1.0
    assert not voided


def test_a_sender_that_falls_silent_is_given_up_and_what_it_sent_is_kept(
    serving: Callable[[Services], AbstractContextManager[str]],
    services: Services,
    blobs: FolderBlobs,
) -> None:
    sent = bytes(100_000)
    blob = blob_ref([sent, b"the rest"])
    path = f"{LINK_PREFIX}/blobs/{blob.digest}?size={blob.size}"
    with serving(replace(services, stalled_seconds=2.0)) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), LONG) as connection:
            head = (
                f"PUT {path} HTTP/1.1\r\nhost: {host}\r\n{VERSION_HEADER}: {VERSION}\r\n"
                f"{SITE_HEADER}: site-1\r\ncontent-length: {blob.size}\r\n\r\n"
            )
            connection.sendall(head.encode() + sent)
            answer = b""
            while more := connection.recv(65536):  # it hangs up: that is the end
                answer += more
    assert b" 409 " in answer
    assert b"did not come to its end: no byte came for 2 s; go on with it" in answer
    assert blobs.offset(blob, "site-1") == len(sent)
