"""A server that is asked to stop while a transfer is under way: a real process, by mutual TLS."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from federant.link import BlobRef, HttpCaller, LinkClient, LinkUnavailable, blob_ref
from federant.link.operator_messages import HealthReply
from federant.provision import FederationKits

DATA = bytes(range(256)) * 16_384  # 4 MiB
FIRST = DATA[: 1 << 20]
"""What the server has when it is asked to stop: as much as it writes at once."""
PATIENCE_SECONDS = 60.0
FOREVER = 3600

Start = Callable[[float], subprocess.Popen[str]]


@pytest.fixture
def start(
    tmp_path: Path, kits: FederationKits, run_python: Callable[..., subprocess.Popen[str]]
) -> Start:
    """``start(drain_seconds)``: the server's command, on the test's folder."""

    def make(drain_seconds: float) -> subprocess.Popen[str]:
        file = tmp_path / "server.toml"
        file.write_text(f'folder = "work"\ndrain_seconds = {drain_seconds}\n')
        return run_python(
            *("-m", "federant", "server", "--config", str(file)),
            *("--kit", str(kits.server.folder), "--host", "127.0.0.1", "--port", "0"),
        )

    return make


def link_to(process: subprocess.Popen[str], kits: FederationKits) -> LinkClient:
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    return LinkClient(url, "site-1", kit=kits.sites["site-1"])


class Transfer:
    """One of which the server has the first part, and that goes on when it is told to."""

    def __init__(self, link: LinkClient) -> None:
        self.blob: BlobRef = blob_ref([DATA])
        self.error: Exception | None = None
        self._link = link
        self._on = threading.Event()
        self._thread = threading.Thread(target=self._run, name="transfer")
        self._thread.start()
        until(lambda: link.missing_blobs([self.blob])[0].offset == len(FIRST))

    def go_on(self) -> None:
        self._on.set()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._link.put_blob(self.blob, self._chunks)
        except LinkUnavailable as error:
            self.error = error

    def _chunks(self, offset: int) -> Iterator[bytes]:
        assert offset == 0
        yield FIRST
        self._on.wait(PATIENCE_SECONDS)
        yield DATA[len(FIRST) :]


def until(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def says_that_it_drains(http: HttpCaller) -> bool:
    try:
        http.call("GET", "/health/ready", HealthReply)
    except LinkUnavailable as error:
        return "503 not_ready: the server is draining" in str(error)
    return False


def test_a_transfer_under_way_ends_well_and_nothing_new_begins(
    start: Start, kits: FederationKits
) -> None:
    process = start(FOREVER)
    with (
        link_to(process, kits) as link,
        closing(HttpCaller(link.url, kit=kits.sites["site-2"])) as http,
    ):
        transfer = Transfer(link)
        process.send_signal(signal.SIGTERM)
        until(lambda: says_that_it_drains(http))
        assert http.call("GET", "/health/live", HealthReply).status == "live"
        with pytest.raises(LinkUnavailable, match="the server is draining"):
            link.missing_blobs([transfer.blob])
        transfer.go_on()
        assert transfer.error is None
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, said) == (0, "")
    with link_to(start(FOREVER), kits) as link:
        assert link.missing_blobs([transfer.blob]) == ()


def test_a_transfer_that_takes_too_long_goes_on_after_the_restart_where_it_stopped(
    start: Start, kits: FederationKits
) -> None:
    process = start(0.1)
    with link_to(process, kits) as link:
        transfer = Transfer(link)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
        assert "stopping, cut requests=1" in said
        assert "Traceback" not in said
        transfer.go_on()
        assert transfer.error is not None
    asked: list[int] = []

    def rest(offset: int) -> list[bytes]:
        asked.append(offset)
        return [DATA[offset:]]

    with link_to(start(0.1), kits) as link:
        link.put_blob(transfer.blob, rest)
        assert link.missing_blobs([transfer.blob]) == ()
    assert asked == [len(FIRST)]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_server_at_once(
    start: Start, kits: FederationKits, second: signal.Signals
) -> None:
    process = start(FOREVER)
    with (
        link_to(process, kits) as link,
        closing(HttpCaller(link.url, kit=kits.sites["site-2"])) as http,
    ):
        transfer = Transfer(link)
        process.send_signal(signal.SIGTERM)
        until(lambda: says_that_it_drains(http))
        process.send_signal(second)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
        transfer.go_on()
    assert process.returncode == 0
    assert "Traceback" not in said
