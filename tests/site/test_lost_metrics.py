"""What a trainer logs while its client job reads nothing: counted all the way to the operator."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import psutil
import pytest

from federant.link.messages import JobState

pytestmark = pytest.mark.slow

ROUNDS = 3
LOGGED = 2000 + ROUNDS
"""The flood, and one value in each round."""


def shown_by_federant_metrics(server: Any, job: Any) -> tuple[int, int]:
    """How many values the command shows, and how many records it says were lost."""
    command = [sys.executable, "-m", "federant.cli", "metrics", job.id, "--csv"]
    command += ["--site", "site-1", "--server", server.url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (lost,) = re.findall(r"^site-1: (\d+) records were lost on the way;", done.stderr, re.MULTILINE)
    return len(done.stdout.splitlines()) - 1, int(lost)


def test_what_a_full_queue_had_to_drop_is_shown_and_with_what_arrived_makes_what_was_logged(
    server: Any, until: Any
):
    site = server.site("", "flood-1", patience=600.0)
    site.hold(1)
    site.hold(2)
    job = server.submit(rounds=ROUNDS)
    site.trainer(1)
    client_job = site.client_job()
    client_job.suspend()
    until("its stop", lambda: client_job.status() == psutil.STATUS_STOPPED)
    site.let_go(1)
    until("the end of the flood", (site.box / "flooded").exists)
    of_flood = int((site.box / "flooded").read_text())
    assert of_flood > 0
    client_job.resume()
    site.trainer(2)

    def told() -> bool:
        reply = job.metrics()
        arrived = sum(row.count for row in reply.metrics if row.site == "site-1")
        return arrived + reply.dropped.get("site-1", 0) >= LOGGED

    until("news of all that was logged", told)
    arrived, lost = shown_by_federant_metrics(server, job)
    assert arrived + lost == LOGGED
    assert lost in (of_flood, of_flood + 1)  # the next round's value may find no room either
    assert any(event.kind == "DROPPED" and event.tag == "trainer" for event in job.events().events)
    site.let_go(2)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    until("the end at the site", (site.job_folder() / "ended.json").exists)
    assert shown_by_federant_metrics(server, job) == (arrived, lost)
