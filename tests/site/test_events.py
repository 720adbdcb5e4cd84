"""Events on their way to a server of real HTTP, that is there, away, or refuses them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from federant.link import LinkClient
from federant.link.messages import Event, JobSpec
from federant.server.blobs import FolderBlobs
from federant.server.routes.app import create_app
from federant.server.routes.services import Services
from federant.server.serving import HttpService, listen, url_of
from federant.server.state import Durability, EventRow, Store
from federant.server.wakeups import Wakeups
from federant.site import events as module
from federant.site.events import EventSender

PATIENCE = 60.0


class Place:
    """A store with one job and its site, and a server for it that a test starts."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.in_file(folder / "state.db", durability=Durability.PROCESS)
        self.blobs = FolderBlobs(folder / "blobs", durability=Durability.PROCESS)
        self.job_id = self.store.create_job(
            JobSpec(name="n", trainer="t", sites=("site-1",)), "job-1"
        ).id
        self._socket = listen("127.0.0.1", 0)
        self.url = url_of(self._socket)
        self._service: HttpService | None = None
        self._thread = threading.Thread(target=self._serve, name="server")

    def _serve(self) -> None:
        assert self._service is not None
        self._service.run(sockets=[self._socket])

    def open(self) -> None:
        wakeups = Wakeups()
        services = Services(self.store, self.blobs, wakeups, "test")
        self._service = HttpService(create_app(services), wakeups)
        self._thread.start()

    def close(self) -> None:
        if self._service is not None:
            self._service.stop()
            self._thread.join(PATIENCE)
        self._socket.close()
        self.store.close()

    def told(self) -> list[EventRow]:
        return self.store.events(self.job_id)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture
def new_sender(place: Place) -> Iterator[Callable[..., EventSender]]:
    link = LinkClient(place.url, "site-1", connect_seconds=2.0, read_seconds=2.0)
    made: list[EventSender] = []

    def make(job_id: str = place.job_id) -> EventSender:
        failures: list[BaseException] = []
        sender = EventSender(link, job_id, failures.append)
        sender.start()
        made.append(sender)
        return sender

    yield make
    for sender in made:
        sender.stop()
    link.close()


def metric(number: int) -> Event:
    return Event(id=f"e{number}", kind="METRIC", tag="loss", value=float(number), time=0.0)


def test_events_arrive_in_order_with_what_they_refer_to(
    place: Place, new_sender: Callable[..., EventSender]
) -> None:
    place.open()
    sender = new_sender()
    for number in range(3):
        blob = sender.keep(b"picture %d" % (number // 2))  # the first two are the same
        sender.add([metric(number), Event(id=f"i{number}", kind="IMAGE", blob=blob)])
    assert sender.flush(PATIENCE)
    rows = place.told()
    assert [row.id for row in rows] == ["e0", "i0", "e1", "i1", "e2", "i2"]
    pictures = [row.blob for row in rows if row.blob is not None]
    read = [place.blobs.path(blob.digest).read_bytes() for blob in pictures]
    assert read == [b"picture 0", b"picture 0", b"picture 1"]


def test_what_the_queue_had_to_drop_is_told_once_the_server_is_there(
    place: Place, new_sender: Callable[..., EventSender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT", 10)
    sender = new_sender()
    for number in range(100):
        sender.add([metric(number)])
    place.open()
    assert sender.flush(PATIENCE)
    rows = place.told()
    came = [row.value for row in rows if row.kind == "METRIC"]
    lost = [row for row in rows if row.kind == "DROPPED"]
    assert sum(row.value or 0 for row in lost) == 100 - len(came)
    assert came[-10:] == [float(number) for number in range(90, 100)]
    assert lost[0].tag == "site"
    (part,) = place.store.job_sites(place.job_id)
    assert part.metrics_dropped == 100 - len(came)


def test_images_that_wait_take_so_much_memory_and_no_more(
    place: Place, new_sender: Callable[..., EventSender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_BYTES", 100)
    sender = new_sender()
    first = sender.keep(b"x" * 60)
    assert first is not None
    assert sender.keep(b"x" * 60) == first  # the same is held once
    assert sender.keep(b"y" * 60) is None
    sender.add([Event(id=number, kind="IMAGE", blob=first) for number in "12"])
    place.open()
    assert sender.flush(PATIENCE)
    assert sender.keep(b"y" * 60) is not None


def test_an_image_that_is_logged_twice_arrives_though_the_first_event_is_dropped(
    place: Place, new_sender: Callable[..., EventSender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT", 1)
    sender = new_sender()
    for number in range(10):
        blob = sender.keep(b"picture")
        assert blob is not None
        sender.add([Event(id=f"i{number}", kind="IMAGE", blob=blob)])
    place.open()
    assert sender.flush(PATIENCE)
    assert "i9" in [row.id for row in place.told()]
    assert place.blobs.path(blob.digest).read_bytes() == b"picture"


def test_events_that_the_server_refuses_do_not_hold_the_next_ones_up(
    place: Place, new_sender: Callable[..., EventSender]
) -> None:
    place.open()
    sender = new_sender()
    nowhere: Any = sender.keep(b"z")
    never_put = nowhere.model_copy(update={"digest": "ab" * 32})
    sender.add([Event(id="1", kind="IMAGE", blob=never_put)])
    assert sender.flush(PATIENCE)
    sender.add([metric(1)])
    assert sender.flush(PATIENCE)
    assert [(row.kind, row.value) for row in place.told()] == [("DROPPED", 1.0), ("METRIC", 1.0)]


def test_one_event_that_the_server_refuses_costs_its_batch_nothing_else(
    place: Place, new_sender: Callable[..., EventSender], caplog: pytest.LogCaptureFixture
) -> None:
    sender = new_sender()
    shared: Any = sender.keep(b"picture")
    never_put = shared.model_copy(update={"digest": "ab" * 32})
    events = [metric(number) for number in range(100)]
    events[3] = Event(id="3", kind="IMAGE", blob=shared)
    events[40] = events[40].model_copy(update={"kind": "k" * 101})
    events[41] = Event(id="41", kind="IMAGE", tag="nowhere", blob=never_put)
    events[97] = Event(id="97", kind="IMAGE", blob=sender.keep(b"picture"))
    sender.add(events)
    place.open()
    assert sender.flush(PATIENCE)
    rows = place.told()
    assert [row.id for row in rows if row.kind != "DROPPED"] == [
        event.id for number, event in enumerate(events) if number not in (40, 41)
    ]
    (part,) = place.store.job_sites(place.job_id)
    assert part.metrics_dropped == 2
    assert "events refused count=1 first='loss' error=the request is not valid: " in caplog.text
    assert "events refused count=1 first='nowhere' error=site site-1 has not put" in caplog.text


def test_a_batch_of_nothing_but_invalid_events_is_counted_and_the_next_one_goes(
    place: Place, new_sender: Callable[..., EventSender]
) -> None:
    place.open()
    sender = new_sender()
    sender.add(metric(number).model_copy(update={"tag": "t" * 1001}) for number in range(50))
    assert sender.flush(PATIENCE)
    sender.add([metric(1)])
    assert sender.flush(PATIENCE)
    rows = place.told()
    assert sum(row.value or 0 for row in rows if row.kind == "DROPPED") == 50
    assert [row.id for row in rows if row.kind == "METRIC"] == ["e1"]


def test_a_job_that_the_server_does_not_know_takes_no_events_and_ends_no_sender(
    place: Place, new_sender: Callable[..., EventSender]
) -> None:
    place.open()
    sender = new_sender("nowhere")
    sender.add([metric(1)])
    assert sender.flush(PATIENCE)
    assert place.told() == []
