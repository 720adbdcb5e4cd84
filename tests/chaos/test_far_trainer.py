"""A trainer on a node that sees nobody but its site, or nobody but the server: jobs end right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federant.testing.network import Network, why_not

REASON = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(REASON), reason=REASON)]

OUTSIDE = ["server", "site-1", "site-2", "operator"]


def test_a_job_by_the_sites_relay_has_the_same_result_as_without_the_far_trainer(
    hosts_of: Any,
) -> None:
    hosts = hosts_of(OUTSIDE, ["site-1", "node"])
    shape(hosts.network)
    assert not hosts.network.reaches("node", hosts.network.address("server"))
    hosts.start_server()
    hosts.start_site("site-1", 1.0, hosts.FAR)
    hosts.start_site("site-2", 2.0)
    hosts.start_far_trainer(hosts.relay_of("site-1"), 1.0)
    require_same_models(hosts)


def test_a_job_by_the_servers_relay_has_the_same_result_as_without_the_far_trainer(
    hosts_of: Any,
) -> None:
    hosts = hosts_of(OUTSIDE, ["server", "node"])
    shape(hosts.network)
    assert not hosts.network.reaches("node", hosts.network.address("site-1"))
    assert not hosts.network.reaches("site-1", hosts.network.address("node"))
    hosts.start_server("[relay]")
    hosts.start_site("site-1", 1.0, hosts.FAR_BY_SERVER)
    hosts.start_site("site-2", 2.0)
    hosts.start_far_trainer(hosts.relay_of("server"), 1.0)
    require_same_models(hosts)


def shape(network: Network) -> None:
    for host, rate in {"server": "100mbit", "site-1": "50mbit", "node": "20mbit"}.items():
        network.shape(host, rate)


def require_same_models(hosts: Any) -> None:
    jobs = [hosts.start_job(trainer, rounds=3) for trainer in ("far", "near")]
    far, near = map(hosts.model_of, jobs)
    np.testing.assert_array_equal(far, near)
    assert (hosts.box("node") / "accepted").read_text() == "0 True\n1 True\n2 True\n"
