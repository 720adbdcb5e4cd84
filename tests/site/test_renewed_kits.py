"""Certificates that are renewed in the middle of a job: nobody is started again for them."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from federant.link.certificate import read_certificate
from federant.link.kit import Kit
from federant.link.messages import JobState
from federant.provision import open_federation

pytestmark = pytest.mark.slow


def serial_of(kit: Kit) -> str:
    return read_certificate(kit.certificate).serial


@pytest.mark.parametrize("authority", ["same", "another"])
def test_a_job_under_way_goes_on_by_renewed_certificates(
    secure_server: Any, until: Any, authority: str
) -> None:
    server, kits = secure_server, secure_server.kits
    first, second = server.site(step=1.0), server.site(step=2.0)
    first.hold(1)
    job = server.submit(rounds=4)
    trainer, client_job = first.trainer(1), first.client_job()
    everybody = [kits.server, *kits.sites.values(), *kits.operators.values(), *kits.agents.values()]

    def calling() -> dict[str, str]:
        """With which certificates the sites called last."""
        sites = server.operator.status().sites
        return {site.name: site.certificates[-1].serial for site in sites}

    before = calling()
    with open_federation(kits.folder) as federation:
        if authority == "another":
            federation.rotate()
        for kit in everybody:
            federation.renew(kit.identity)
        if authority == "another":
            # What is open goes on; whatever is dialled from now on is by the new one.
            federation.retire()
    assert server.operator.status().certificate.serial == serial_of(kits.server)
    first.let_go(1)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(4)
    until("the sites' new certificates", lambda: calling() != before)
    renewed = {name: serial_of(kit) for name, kit in kits.sites.items()}
    until("all of them", lambda: calling() == renewed)
    assert (trainer.pid, client_job.pid) == (first.trainer_pid(3), client_job.pid)
    assert client_job.rlimit(psutil.RLIMIT_CORE)[0] == 0
    assert {site.daemon.poll() for site in (first, second)} == {None}
