"""A site whose certificate is revoked in the middle of a job, and that goes on with another."""

from __future__ import annotations

from typing import Any

import pytest

from federant.link.messages import JobState
from federant.provision import open_federation

pytestmark = pytest.mark.slow


def test_a_site_that_is_revoked_in_mid_round_hands_its_result_in_under_its_next_certificate(
    secure_server: Any, until: Any
) -> None:
    server = secure_server
    victim, other = server.site(step=1.0), server.site(step=2.0)
    victim.hold(1)
    job = server.submit(rounds=3)
    trainer = victim.trainer(1)

    status = server.operator.status()
    (old,) = next(site.certificates for site in status.sites if site.name == victim.name)
    server.operator.revoke(old.serial, "a drill")
    victim.let_go(1)
    accepted = victim.box / "accepted"
    until("the result of round 1", lambda: accepted.read_text() == "0 True\n1 True\n")
    until("the other site's", (other.box / "round-1").exists)
    until(
        "what the daemon says", lambda: "was revoked" in (victim.folder / "daemon.log").read_text()
    )
    assert trainer.is_running()
    assert job.state() is JobState.RUNNING

    with open_federation(server.kits.folder) as federation:
        federation.renew(federation.find(victim.name))
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
