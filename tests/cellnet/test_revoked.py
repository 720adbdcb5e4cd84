"""An agent that was revoked: relay and client job let it in no more, and cut it off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from federant.cellnet.admission import Admission
from federant.cellnet.relay import RelayThread
from federant.link.certificate import read_certificate
from federant.link.kit import Kit
from federant.link.messages import RevokedSerials
from federant.pipe import CellPipe, Mode, PeerGoneError, PipeRefusedError
from federant.provision import FederationKits
from federant.testing.two_ends import LONG, TASK, in_thread, pass_on, receive, request

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


# ---- where the relay lets it in all the same -----------------------------------------------------


@pytest.fixture(params=["tls_relay", "server_relay"])
def lax_relay(request: pytest.FixtureRequest) -> str:
    """The address of a relay that has heard of no revocation: the site's, and the server's."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def list_at_site(tmp_path: Path) -> Path:
    """Where the site keeps who was revoked."""
    return tmp_path / "revoked.json"


def write(file: Path, kit: Kit) -> None:
    told = RevokedSerials(version="v1", serials=(serial_of(kit),))
    aside = file.with_suffix(".new")
    aside.write_text(told.model_dump_json())
    aside.replace(file)


def said_of(kit: Kit) -> str:
    who = f"the certificate of agent gpu-7 of site site-1, serial number {serial_of(kit)}"
    return f"certificate_revoked: {who}, was revoked"


def test_the_client_job_refuses_a_revoked_agent_by_name_whatever_the_relay_lets_in(
    new_cell_pipe: NewPipe,
    lax_relay: str,
    kits: FederationKits,
    list_at_site: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kit = kits.agents["site-1.gpu-7"]
    write(list_at_site, kit)
    job = new_cell_pipe(
        Mode.PASSIVE, lax_relay, kits.sites["site-1"], token="gpu-7", revoked=list_at_site
    )
    job.open(TASK)
    agent = new_cell_pipe(Mode.ACTIVE, lax_relay, kit, token="gpu-7")

    def take_part() -> None:
        agent.open(TASK)
        receive(agent)

    # It is in at the relay, and refused as soon as it meets its client job.
    with pytest.raises((PipeRefusedError, PeerGoneError)) as refused:
        take_part()
    assert said_of(kit) in str(refused.value)
    logged = [line for line in caplog.messages if line.startswith("peer dropped reason=")]
    assert said_of(kit) in "\n".join(logged)


def test_the_client_job_drops_a_live_agent_once_its_site_hears_that_it_was_revoked(
    new_cell_pipe: NewPipe, lax_relay: str, kits: FederationKits, list_at_site: Path
) -> None:
    kit = kits.agents["site-1.gpu-7"]
    agent = new_cell_pipe(Mode.ACTIVE, lax_relay, kit, token="gpu-7")
    job = new_cell_pipe(
        Mode.PASSIVE, lax_relay, kits.sites["site-1"], token="gpu-7", revoked=list_at_site
    )
    agent.open(TASK)
    job.open(TASK)
    pass_on(agent, job, request(1))
    of_agent = in_thread(parting_of, agent)
    write(list_at_site, kit)
    assert said_of(kit) in str(parting_of(job))
    assert not of_agent.result(LONG).clean


def test_a_client_job_whose_agent_the_relay_has_cut_off_hears_why_and_waits_for_it_no_more(
    new_cell_pipe: NewPipe, relay: RevokingRelay, kits: FederationKits, list_at_site: Path
) -> None:
    kit = kits.agents["site-1.gpu-7"]
    agent = new_cell_pipe(Mode.ACTIVE, relay.url, kit, token="gpu-7")
    job = new_cell_pipe(
        Mode.PASSIVE,
        relay.url,
        kits.sites["site-1"],
        token="gpu-7",
        peer_timeout=0,
        revoked=list_at_site,
    )
    agent.open(TASK)
    job.open(TASK)
    pass_on(agent, job, request(1))
    relay.revoke(kit)
    write(list_at_site, kit)
    assert said_of(kit) in str(parting_of(job))
