"""The server as a process: started, stopped by a signal, killed, and started again."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from federant.link import HttpCaller, LinkClient, LinkUnavailable
from federant.link.messages import JobSpec, JobState
from federant.link.operator_messages import HealthReply, JobsReply, JobView, SitesReply
from federant.server.blobs import FolderBlobs

SCRIPT = """
import sys
from pathlib import Path
from federant.server.daemon import run_server
run_server(Path(sys.argv[1]), host=sys.argv[2])
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, run_python: Start) -> Start:
    """Starts a server process on the test's folder."""

    def make(host: str = "127.0.0.1") -> subprocess.Popen[str]:
        return run_python("-c", SCRIPT, str(tmp_path / "server"), host)

    return make


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("federant server at http://127.0.0.1:")
    return line.split()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_cleanly_though_a_site_waits_at_it(
    start: Start, number: signal.Signals
) -> None:
    process = start()
    answers: list[object] = []
    url = _url(process)
    with LinkClient(url, "site-1") as link, closing(HttpCaller(url)) as http:
        waiting = threading.Thread(target=lambda: answers.append(link.next_jobs({}, 50)))
        waiting.start()
        while not http.call("GET", "/api/v1/sites", SitesReply).sites:
            pass
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        waiting.join(60)
    assert answers == [()]
    assert (process.returncode, errors) == (0, "")


def test_a_killed_server_goes_on_under_its_address_with_its_jobs(start: Start) -> None:
    first = start()
    url = _url(first)
    http = HttpCaller(url)
    server_id = http.call("GET", "/health/live", HealthReply).server_id
    spec = JobSpec(name="n", trainer="t", sites=("site-1",), params={"rounds": 1})
    job = http.call("POST", "/api/v1/jobs", JobView, spec)
    first.kill()
    first.wait()
    with pytest.raises(LinkUnavailable):
        http.call("GET", "/api/v1/jobs", JobsReply)

    second = start()
    assert _url(second) == url
    assert http.call("GET", "/health/live", HealthReply).server_id == server_id
    (again,) = http.call("GET", "/api/v1/jobs", JobsReply).jobs
    assert again.id == job.id
    assert again.state in (JobState.SUBMITTED, JobState.RUNNING)
    http.close()


def test_a_server_that_starts_removes_what_nothing_needs(start: Start, tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "server" / "blobs")
    unneeded, fresh = (blobs.path(blobs.put([data]).digest) for data in (b"old", b"fresh"))
    os.utime(unneeded, (1.0, 1.0))
    _url(start())
    deadline = time.monotonic() + 60
    while unneeded.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert fresh.exists()


def test_a_second_server_in_the_same_folder_is_refused(start: Start, tmp_path: Path) -> None:
    url = _url(start())
    second = start()
    _, errors = second.communicate(timeout=60)
    assert second.returncode != 0
    assert f"another server runs in {tmp_path / 'server'} ({url})" in errors


def test_a_server_that_others_could_reach_is_refused(start: Start) -> None:
    process = start("0.0.0.0")
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "which other machines can reach, without TLS" in errors
