"""Networks of namespaces: who reaches whom, and what a cut and another address do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from federant.testing.network import Network, why_not

REASON = why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(["server", "site"], ["site", "node"]) as network:
        yield network


def test_hosts_of_one_network_reach_each_other_and_no_other(network: Network) -> None:
    assert network.reaches("site", network.address("server"))
    assert network.reaches("node", network.address("site", 1))
    assert not network.reaches("node", network.address("server"))
    assert not network.reaches("node", network.address("site"))
    assert not network.reaches("server", network.address("node"))


def test_a_host_that_has_moved_is_reached_at_its_new_address(network: Network) -> None:
    network.move("node", "10.77.1.22")
    assert network.reaches("site", "10.77.1.22")
    assert network.reaches("node", network.address("site", 1))


def test_a_line_that_is_cut_passes_nothing_until_it_is_mended(network: Network) -> None:
    network.cut("node")
    sent = network.sent("node")
    assert not network.reaches("node", network.address("site", 1), 0.5)
    assert network.sent("node") > sent
    network.mend("node")
    assert network.reaches("node", network.address("site", 1))
