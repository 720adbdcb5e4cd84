"""An agent whose certificate was revoked: the relay lets it in no more, and cuts it off."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from federant.cellnet.admission import Admission
from federant.cellnet.relay import RelayThread
from federant.link.certificate import read_certificate
from federant.link.kit import Kit
from federant.pipe import CellPipe, Mode, PeerGoneError, PipeRefusedError
from federant.provision import FederationKits
from federant.testing.two_ends import TASK, pass_on, receive, request

NewPipe = Callable[..., CellPipe]
Denials = Callable[[], str]


def serial_of(kit: Kit) -> str:
    return read_certificate(kit.certificate).serial


def parting_of(pipe: CellPipe) -> PeerGoneError:
    with pytest.raises(PeerGoneError) as gone:
        receive(pipe)
    return gone.value


class RevokingRelay:
    """site-1's relay, and what it is told to be revoked."""

    def __init__(self, kit: Kit) -> None:
        self._revoked: set[str] = set()
        admission = Admission("site-1", kit, self._revoked.__contains__)
        self._relay = RelayThread("site-1", "127.0.0.1", 0, admission, admission.context())
        self.url = f"https://127.0.0.1:{self._relay.port}"

    def revoke(self, kit: Kit) -> None:
        serial = serial_of(kit)
        self._revoked.add(serial)
        self._relay.cut([serial])

    def stop(self) -> None:
        self._relay.stop()


@pytest.fixture
def relay(kits: FederationKits) -> Iterator[RevokingRelay]:
    made = RevokingRelay(kits.sites["site-1"])
    yield made
    made.stop()


def test_a_revoked_agent_is_not_let_in_and_told_so_by_name(
    new_cell_pipe: NewPipe, relay: RevokingRelay, kits: FederationKits, denials: Denials
) -> None:
    kit = kits.agents["site-1.gpu-7"]
    relay.revoke(kit)
    pipe = new_cell_pipe(Mode.ACTIVE, relay.url, kit, token="gpu-7")
    with pytest.raises(PipeRefusedError) as refused:
        pipe.open(TASK)
    wanted = (
        "certificate_revoked: the certificate of agent gpu-7 of site site-1, serial number "
        f"{serial_of(kit)}, was revoked; ask the federation's operator for another"
    )
    assert wanted in str(refused.value)
    assert wanted in denials()


def test_a_live_agent_is_cut_off_when_it_is_revoked(
    new_cell_pipe: NewPipe, relay: RevokingRelay, kits: FederationKits, denials: Denials
) -> None:
    kit = kits.agents["site-1.gpu-7"]
    agent = new_cell_pipe(Mode.ACTIVE, relay.url, kit, token="gpu-7")
    job = new_cell_pipe(
        Mode.PASSIVE, relay.url, kits.sites["site-1"], token="gpu-7", peer_timeout=0.2
    )
    agent.open(TASK)
    job.open(TASK)
    pass_on(agent, job, request(1))
    relay.revoke(kit)
    partings = [parting_of(agent)]
    if "certificate_revoked" not in str(partings[-1]):  # first that its peer is gone, then why
        partings.append(parting_of(agent))
    assert "certificate_revoked: the certificate of agent gpu-7" in str(partings[-1])
    assert not any(parting.clean for parting in partings)
    parting_of(job)
    assert "fqcn='site-1.gpu-7.agent' reason=certificate_revoked" in denials()


def test_nobody_else_is_cut_off(
    new_cell_pipe: NewPipe, relay: RevokingRelay, kits: FederationKits
) -> None:
    agent = new_cell_pipe(Mode.ACTIVE, relay.url, kits.agents["site-1.gpu-7"], token="gpu-7")
    job = new_cell_pipe(Mode.PASSIVE, relay.url, kits.sites["site-1"], token="gpu-7")
    agent.open(TASK)
    job.open(TASK)
    pass_on(agent, job, request(1))
    relay.revoke(kits.agents["site-1.gpu-8"])
    assert pass_on(job, agent, request(2)).data["number"] == 2


def test_an_agent_is_let_in_with_another_certificate(
    new_cell_pipe: NewPipe,
    relay: RevokingRelay,
    kits: FederationKits,
    odd: Callable[..., Kit],
) -> None:
    kit = kits.agents["site-1.gpu-7"]
    relay.revoke(kit)
    new_cell_pipe(Mode.ACTIVE, relay.url, odd(kit.identity), token="gpu-7").open(TASK)
