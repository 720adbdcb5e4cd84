"""The server's relay: cells meet at its port, sealed from end to end; real cells and real TLS."""

from __future__ import annotations

import asyncio
import logging
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from federant.link.certificate import read_certificate
from federant.link.identity import Role
from federant.link.kit import Kit
from federant.link.operator import connect
from federant.pipe import CellPipe, Message, Mode, PeerGoneError, PipeRefusedError
from federant.provision import FederationKits
from federant.server.cells import CellConnection
from federant.server.door.peers import peer_of
from federant.server.routes.services import Services
from federant.testing.fault_proxy import FaultProxy, Way
from federant.testing.two_ends import LONG, TASK, in_thread, pass_on, receive, request

NewCell = Callable[..., CellPipe]
Denials = Callable[[], str]

LARGE = 10_000
"""Bytes of a message that is a piece of a large one."""


@pytest.fixture
def relay(serving_tls: Any, services: Services) -> Iterator[str]:
    """The address of a server that has a relay."""
    with serving_tls(services, most_cells=100) as url:
        yield url


@pytest.fixture
def new_cell(kits: FederationKits) -> Iterator[NewCell]:
    """new_cell(mode, url): agent gpu-7's end, or that of its client job at site-1."""
    made: list[CellPipe] = []

    def new(mode: Mode, url: str, kit: Kit | None = None, **more: Any) -> CellPipe:
        usual = kits.agents["site-1.gpu-7"] if mode is Mode.ACTIVE else kits.sites["site-1"]
        site, token = more.pop("site", "site-1"), more.pop("token", "gpu-7")
        folder = str((kit or usual).folder)
        made.append(CellPipe(mode, site, token, url, workspace_dir=folder, **more))
        return made[-1]

    yield new
    for pipe in made:
        pipe.close()


@pytest.fixture
def pair(new_cell: NewCell, relay: str) -> tuple[CellPipe, CellPipe]:
    """An agent's end and its client job's, which have met."""
    agent, job = new_cell(Mode.ACTIVE, relay), new_cell(Mode.PASSIVE, relay)
    agent.open(TASK)
    job.open(TASK)
    pass_on(agent, job, request(1))
    return agent, job


@pytest.fixture
def cell_denials(caplog: pytest.LogCaptureFixture) -> Denials:
    """Whom the relay has not let in, and why."""
    caplog.set_level(logging.WARNING, "federant.cellnet")
    return lambda: "\n".join(
        record.message for record in caplog.records if record.message.startswith("denied")
    )


def wait_for(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 2 * LONG
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def refusal_of(pipe: CellPipe) -> str:
    with pytest.raises(PipeRefusedError) as refused:
        pipe.open(TASK)
    return str(refused.value)


def parting_of(pipe: CellPipe) -> str:
    with pytest.raises(PeerGoneError) as gone:
        receive(pipe)
    assert not gone.value.clean
    return str(gone.value)


@pytest.fixture
def passed_on(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the server passes on from cell to cell."""
    passed: list[bytes] = []
    send = CellConnection.send

    async def note(self: CellConnection, message: Any, **more: Any) -> None:
        passed.append(message if isinstance(message, bytes) else b"")
        await send(self, message, **more)

    monkeypatch.setattr(CellConnection, "send", note)
    return passed


def test_what_the_server_passes_on_shows_nothing_of_what_was_sent(
    passed_on: list[bytes], pair: tuple[CellPipe, CellPipe]
) -> None:
    agent, job = pair
    large = np.frombuffer(b"a secret of this site; " * 100_000, np.uint8)
    small = "a word for the agent"
    arrived = pass_on(agent, job, Message.new_request("train", large)).data
    np.testing.assert_array_equal(arrived, large)
    assert pass_on(job, agent, Message.new_request("train", small)).data == small
    passed = b"".join(passed_on)
    assert len(passed) > large.nbytes
    for plain in (b"a secret", b"a word", b"train", b"safetensors", b"federant"):
        assert plain not in passed


def test_a_server_that_changes_what_it_passes_on_is_an_error_at_both_ends(
    pair: tuple[CellPipe, CellPipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, job = pair
    send = CellConnection.send

    async def change(self: CellConnection, message: Any, **more: Any) -> None:
        if isinstance(message, bytes) and len(message) > LARGE:
            changed = bytearray(message)
            changed[-1] ^= 1
            message = bytes(changed)
        await send(self, message, **more)

    monkeypatch.setattr(CellConnection, "send", change)
    hearing = in_thread(parting_of, job)
    in_thread(agent.send, Message.new_request("train", np.zeros(500_000)), LONG)
    assert "what came is not what the other cell has sent" in hearing.result(2 * LONG)
    assert "did not reach the other one as it was" in parting_of(agent)


class Forger:
    """A server that keeps the small messages for a client job, and says that they have arrived."""

    HEAD = struct.Struct("<QBBQ")
    PACKET, ACK, EXPRESS = 1, 2, 0
    HANDSHAKE = 2
    """Packets of the agent's in a lane before the first message."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept = threading.Event()
        self._agent: CellConnection | None = None
        self._pass_on = CellConnection.send

        async def send(connection: CellConnection, message: Any, **_: Any) -> None:
            await self.pass_on(connection, message)

        monkeypatch.setattr(CellConnection, "send", send)

    async def pass_on(self, receiver: CellConnection, message: Any) -> None:
        peer = peer_of(receiver.transport)
        if peer is None or peer.identity is None or peer.identity.role is Role.AGENT:
            self._agent = receiver
        elif isinstance(message, bytes):
            meeting, kind, lane, number = self.HEAD.unpack_from(message)
            is_small = (kind, lane) == (self.PACKET, self.EXPRESS) and number > self.HANDSHAKE
            if is_small and self._agent is not None:
                forged = self.HEAD.pack(meeting, self.ACK, self.EXPRESS, number)
                await self._pass_on(self._agent, forged)
                self.kept.set()
                return
        await self._pass_on(receiver, message)


def test_a_server_that_keeps_the_last_small_messages_cannot_let_the_end_look_clean(
    pair: tuple[CellPipe, CellPipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, job = pair
    forger = Forger(monkeypatch)
    job.send(request(2), 0)
    receive(agent)
    for number in (3, 4):
        agent.send(request(number), 0)
    assert forger.kept.wait(LONG)
    agent.close()
    assert "messages of EXPRESS came of" in parting_of(job)


def test_a_server_that_keeps_the_beginning_cannot_let_what_is_large_get_lost(
    new_cell: NewCell, relay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Forger(monkeypatch)
    agent, job = new_cell(Mode.ACTIVE, relay), new_cell(Mode.PASSIVE, relay)
    agent.open(TASK)
    job.open(TASK)
    in_thread(agent.send, Message.new_request("train", np.zeros(500_000)), LONG)
    assert "a piece FILE came before its session was opened" in parting_of(agent)


def test_a_cut_in_the_middle_of_a_transfer_is_gone_on_from(new_cell: NewCell, relay: str) -> None:
    with FaultProxy("127.0.0.1", int(relay.rpartition(":")[2])) as proxy:
        agent = new_cell(Mode.ACTIVE, f"https://127.0.0.1:{proxy.port}")
        job = new_cell(Mode.PASSIVE, relay)
        agent.open(TASK)
        job.open(TASK)
        pass_on(agent, job, request(1))
        values = np.arange(1_000_000.0)
        before = proxy.passed(Way.UP)
        proxy.cut_after(3_000_000)
        arrived = pass_on(agent, job, Message.new_request("train", values)).data
        np.testing.assert_array_equal(arrived, values)
        assert proxy.passed(Way.UP) - before > values.nbytes
        agent.close()
        job.close()


@contextmanager
def slowly() -> Iterator[None]:
    """What the server passes on takes so long that a look at it in the middle is never too late."""
    send = CellConnection.send

    async def take_time(self: CellConnection, message: Any, **more: Any) -> None:
        await asyncio.sleep(0.1)
        await send(self, message, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CellConnection, "send", take_time)
        yield


def test_a_server_that_is_started_again_in_the_middle_of_a_transfer_is_gone_on_with(
    new_cell: NewCell, serving_tls: Any, services: Services, passed_on: list[bytes]
) -> None:
    values = np.arange(3_000_000.0)
    with slowly(), serving_tls(services, most_cells=100) as url:
        agent, job = new_cell(Mode.ACTIVE, url), new_cell(Mode.PASSIVE, url)
        agent.open(TASK)
        job.open(TASK)
        pass_on(agent, job, request(1))
        receiving = in_thread(receive, job)
        sending = in_thread(agent.send, Message.new_request("train", values), 3 * LONG)
        wait_for(lambda: sum(map(len, passed_on)) > 2_000_000)
    assert not sending.done()
    with serving_tls(services, most_cells=100, port=int(url.rpartition(":")[2])):
        np.testing.assert_array_equal(receiving.result(3 * LONG).data, values)
        assert sending.result(LONG) is True
        agent.close()
        job.close()


# ---- who is let in ------------------------------------------------------------------------------


def test_an_agent_under_another_agents_name_is_refused(
    new_cell: NewCell, relay: str, kits: FederationKits, cell_denials: Denials
) -> None:
    pipe = new_cell(Mode.ACTIVE, relay, kits.agents["site-1.gpu-8"])
    wanted = "agent gpu-8 of site site-1 may not join as site-1.gpu-7.agent"
    assert wanted in refusal_of(pipe)
    assert wanted in cell_denials()


def test_an_agent_of_another_site_is_refused(
    new_cell: NewCell, relay: str, cell_denials: Denials
) -> None:
    wanted = "agent gpu-7 of site site-1 may not join as site-2.gpu-7.agent"
    assert wanted in refusal_of(new_cell(Mode.ACTIVE, relay, site="site-2"))
    assert wanted in cell_denials()


def test_another_site_is_refused_as_the_client_job_of_an_agent(
    new_cell: NewCell, relay: str, kits: FederationKits, cell_denials: Denials
) -> None:
    wanted = "site site-2 may not join as site-1.gpu-7.job"
    assert wanted in refusal_of(new_cell(Mode.PASSIVE, relay, kits.sites["site-2"]))
    assert wanted in cell_denials()


def test_an_operator_is_refused(
    new_cell: NewCell, relay: str, kits: FederationKits, denials: Denials
) -> None:
    told = refusal_of(new_cell(Mode.ACTIVE, relay, kits.operators["alice"]))
    assert "the caller is operator alice, and /cell is for the cells of sites and agents" in told
    assert "call=GET '/cell' code=wrong_identity" in denials()


def test_a_server_whose_relay_is_off_says_how_to_switch_it_on(new_cell: NewCell, url: str) -> None:
    told = refusal_of(new_cell(Mode.ACTIVE, url))
    assert "the relay of this server is switched off" in told
    assert "[relay] in server.toml" in told


def test_one_cell_too_many_is_told_and_comes_later(
    new_cell: NewCell,
    serving_tls: Any,
    services: Services,
    kits: FederationKits,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving_tls(services, most_cells=2) as url:
        agent, job = new_cell(Mode.ACTIVE, url), new_cell(Mode.PASSIVE, url)
        agent.open(TASK)
        job.open(TASK)
        pass_on(agent, job, request(1))
        other = new_cell(Mode.ACTIVE, url, kits.agents["site-1.gpu-8"], token="gpu-8")
        other.open(TASK)
        assert "its operator may raise relay.most_cells in server.toml" in caplog.text
        for pipe in (agent, job, other):
            pipe.close()


def test_one_site_leaves_room_for_others(
    new_cell: NewCell,
    serving_tls: Any,
    services: Services,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving_tls(services, most_cells=2) as url:
        agent, job = new_cell(Mode.ACTIVE, url), new_cell(Mode.PASSIVE, url)
        job.open(TASK)
        other = new_cell(Mode.PASSIVE, url, token="gpu-8")
        other.open(TASK)
        wait_for(lambda: "1 cells with this site's certificate, half of what" in caplog.text)
        agent.open(TASK)
        pass_on(agent, job, request(1))


# ---- revoked ------------------------------------------------------------------------------------


def test_a_revoked_agent_is_cut_off_and_not_let_in_again(
    pair: tuple[CellPipe, CellPipe],
    new_cell: NewCell,
    relay: str,
    kits: FederationKits,
    denials: Denials,
) -> None:
    agent, _ = pair
    serial = read_certificate(kits.agents["site-1.gpu-7"].certificate).serial
    with connect(relay, kit=kits.operators["alice"].folder) as operator:
        operator.revoke(serial, "its disk was stolen")
    wanted = f"the certificate of agent gpu-7 of site site-1, serial number {serial}, was revoked"
    assert wanted in parting_of(agent)
    assert wanted in refusal_of(new_cell(Mode.ACTIVE, relay))
    assert "call=GET '/cell' code=certificate_revoked" in denials()


def test_a_client_job_whose_site_is_revoked_goes_on_trying(
    pair: tuple[CellPipe, CellPipe], relay: str, kits: FederationKits, denials: Denials
) -> None:
    _, job = pair
    cell = job.cell_pid
    serial = read_certificate(kits.sites["site-1"].certificate).serial
    with connect(relay, kit=kits.operators["alice"].folder) as operator:
        operator.revoke(serial, "a drill")
    wait_for(lambda: denials().count("call=GET '/cell' code=certificate_revoked") >= 3)
    assert job.cell_pid == cell
