"""A store with events of every kind, and real servers to send them to."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3

from federant.link import LinkClient, blob_ref
from federant.link.messages import BlobRef, Event, JobSpec, SinkName
from federant.link.operator import Federation, Job, connect
from federant.server.blobs import FolderBlobs
from federant.server.state import Durability, JobRow, Store
from federant.server.tracking import Sink
from federant.server.tracking.base import logged
from federant.site.png import png

PATIENCE_SECONDS = 240.0
PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
LONG_TEXT = "word " * 10_000


def until(what: str, look: Callable[[], Any]) -> Any:
    """What ``look`` finds, once it is there; another process makes it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)
    return found


@pytest.fixture(name="until")
def until_fixture() -> Callable[[str, Callable[[], Any]], Any]:
    return until


@dataclass
class Stage:
    """A store and blobs, as a server has them."""

    store: Store
    blobs: FolderBlobs
    pixels = PIXELS
    long_text = LONG_TEXT

    def job(self, *sinks: SinkName) -> JobRow:
        spec = JobSpec(name="digits", trainer="t", sites=("site-1", "site-2"), sinks=sinks)
        return self.store.create_job(spec)

    def feed(self, sink: Sink, job: JobRow, place: Mapping[str, Any] | None = None) -> Any:
        """Everything that the job has, to the sink; the sink's note."""
        return sink.write(job, logged(self.store.events(job.id)), place or {})

    def log_image(self, job: JobRow, event_id: str) -> None:
        blob = self.blobs.put([png(PIXELS)])
        image = Event(id=event_id, kind="IMAGE", tag="sample", text="5 x 4", blob=blob, step=2)
        self.store.add_events(job.id, "site-1", [image])

    def log_everything(self, job: JobRow) -> None:
        """An event of each kind, from one site, and numbers from another and the server."""
        image, text = self.blobs.put([png(PIXELS)]), self.blobs.put([LONG_TEXT.encode()])
        self.store.add_events(job.id, "site-1", every_kind(image, text))
        self.store.add_events(job.id, "site-2", [metric(1, 7.0)])
        self.store.add_events(job.id, "", [metric(1, 8.0)])

    def log_nonsense(self, job: JobRow) -> None:
        """What no client job of ours sends, and a number after it."""
        whole = png(PIXELS)
        files = {
            "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
            "nothing": b"",
            "cut": whole[:50],
            "huge": whole[:16] + struct.pack(">II", 30_000, 30_000) + whole[24:],
            "x" * 900: whole,
        }
        images = [
            Event(id=f"i-{tag}"[:50], kind="IMAGE", tag=tag, text="an image", blob=blob, time=1001)
            for tag, blob in ((tag, self.blobs.put([data])) for tag, data in files.items())
        ]
        others = [
            Event(id="t", kind="TEXT", tag="\u00fc" * 900, text="a text", time=1001),
            Event(id="m", kind="METRIC", tag="m" * 249 + "/m", value=1e300, step=-1, time=1e300),
            Event(id="n", kind="METRIC", tag="past", value=1.0, step=1, time=-1e300),
            Event(id="g", kind="TAG", tag="federant.site", text="site-2", time=1001),
        ]
        self.store.add_events(job.id, "site-1", [*images, *others, metric(1, 1.0, "after")])


def metric(step: int, value: float, tag: str = "train/loss") -> Event:
    name = f"{tag}-{step}-{value}"
    return Event(id=name, kind="METRIC", tag=tag, value=value, step=step, time=1000.0 + step)


def every_kind(image: BlobRef, text: BlobRef) -> list[Event]:
    nan, infinite = float("nan"), float("inf")
    return [
        *(metric(step, value) for step, value in enumerate((0.5, nan, infinite, 0.25))),
        Event(id="t", kind="TEXT", tag="note", text="hello", step=1, time=1001.0),
        Event(id="e", kind="TEXT", tag="empty", text="", time=1001.0),
        Event(id="l", kind="TEXT", tag="long", text="word", blob=text, time=1001.0),
        Event(id="i", kind="IMAGE", tag="sample", text="5 x 4", blob=image, step=2, time=1002.0),
        Event(id="p", kind="PARAMETER", tag="lr", text="0.1", time=1001.0),
        Event(id="g", kind="TAG", tag="who", text="x", time=1001.0),
        Event(id="s", kind="STATUS", tag="running", text="for people", time=1001.0),
    ]


@pytest.fixture(name="metric")
def metric_fixture() -> Callable[..., Event]:
    """``metric(step, value, tag)`` as an event."""
    return metric


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    store = Store.in_file(tmp_path / "state.db", durability=Durability.PROCESS)
    yield Stage(store, FolderBlobs(tmp_path / "blobs", durability=Durability.PROCESS))
    store.close()


class RealServer:
    """A server process, and a site that logs there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "server.toml"
        self.config.write_text("")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        code = (
            "import pathlib, sys; from federant.server.daemon import run_server;"
            "run_server(pathlib.Path(sys.argv[1]), config=pathlib.Path(sys.argv[2]))"
        )
        command = [sys.executable, "-c", code, str(self.folder / "server"), str(self.config)]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        self._process.stdout.close()
        assert line, (self.folder / "server.log").read_text()
        self.url = line.split()[-1]
        self.operator: Federation = connect(self.url)
        self.link = LinkClient(self.url, "site-1")
        self.link.hello("here")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
            self.operator.close()
            self.link.close()
            self._process = None

    def stop(self) -> int:
        """As an operator does it; the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(PATIENCE_SECONDS)

    def submit(self, *sinks: str, name: str = "digits") -> Job:
        return self.operator.submit(trainer="t", name=name, sites=["site-1"], sinks=sinks)

    def log(self, job: Job, *events: Event) -> None:
        self.link.add_events(job.id, events)

    def put(self, data: bytes) -> BlobRef:
        blob = blob_ref([data])
        self.link.put_blob(blob, lambda offset: [memoryview(data)[offset:]])
        return blob

    def get(self, path: str) -> str:
        reply = urllib3.request("GET", f"{self.url}{path}", timeout=PATIENCE_SECONDS)
        assert reply.status == 200
        return reply.data.decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    made = RealServer(tmp_path)
    yield made
    made.kill()
