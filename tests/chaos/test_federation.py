"""A federation of hosts of their own: a line is cut and an address changes while sites train."""

from __future__ import annotations

import time
from typing import Any

import pytest

from federant.testing.network import why_not

REASON = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(REASON), reason=REASON)]


def test_a_job_ends_well_though_a_line_is_cut_and_a_far_trainers_site_gets_another_address(
    hosts_of: Any,
) -> None:
    """Both are lost with the address: the site's link, and its client job's way to the trainer."""
    hosts = hosts_of(["server", "site-1", "site-2", "operator"], ["server", "node"])
    held = [hosts.box(host) / "hold-1" for host in ("node", "site-2")]
    for hold in held:
        hold.touch()
    hosts.start_server("[relay]")
    hosts.start_site("site-1", 1.0, hosts.FAR_BY_SERVER)
    hosts.start_site("site-2", 2.0)
    hosts.start_far_trainer(hosts.relay_of("server"), 1.0)
    job = hosts.start_job("far", rounds=3)
    hosts.wait_for("round 1", lambda: all(hold.with_name("round-1").exists() for hold in held))
    hosts.network.move("site-1", "10.77.0.22")
    hosts.network.cut("site-2")
    for hold in held:
        hold.unlink()
    # Whatever is on its way meanwhile is lost; nothing else tells that it is long enough.
    time.sleep(2.0)
    hosts.network.mend("site-2")
    model = hosts.model_of(job)
    # 1.5, 1.5 / 2 + 1.5 and that / 2 + 1.5: both sites in every round.
    assert set(model) == {2.625}
    for hold in held:
        assert hold.with_name("accepted").read_text() == "0 True\n1 True\n2 True\n"
