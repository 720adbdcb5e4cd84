"""Trainers that nobody launched join by an agent's startup kit, over a relay and mutual TLS."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import federant.client as flare
from federant.cellnet.admission import Admission
from federant.cellnet.relay import RelayThread
from federant.client import FlareAgent, JoinError, join
from federant.exchange import DXO, DataKind, HeaderKey, from_shareable
from federant.link.kit import Kit
from federant.pipe import CellPipe, Message, Mode, PipeHandler
from federant.provision import FederationKits
from federant.testing.certificates import Odd
from federant.testing.two_ends import LONG, TASK, in_thread

NewPipe = Callable[..., CellPipe]


@pytest.fixture(autouse=True)
def own_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joining hears of crashes; that goes with the test."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for name in ("FEDERANT_PIPE", "FEDERANT_JOIN", "FEDERANT_KIT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def dialling(tmp_path: Path) -> Callable[[Kit, str], Kit]:
    """``dialling(kit, url)``: a copy of the kit that names this relay."""

    def copy(kit: Kit, relay: str) -> Kit:
        folder = tmp_path / f"far-{kit.folder.name}"
        shutil.copytree(kit.folder, folder)
        made = replace(kit, folder=folder, relay=relay)
        (folder / "kit.toml").write_text(made.toml())
        return made

    return copy


Dialling = Callable[[Kit, str], Kit]


@pytest.fixture
def kit(dialling: Dialling, kits: FederationKits, tls_relay: str) -> Kit:
    """Of agent gpu-7, which dials the relay that is there."""
    return dialling(kits.agents["site-1.gpu-7"], tls_relay)


@contextmanager
def client_job(new_pipe: NewPipe, relay: str, site: Kit) -> Iterator[PipeHandler]:
    """The other end of gpu-7's tasks."""
    pipe = new_pipe(Mode.PASSIVE, relay, site, token="gpu-7")
    pipe.open(TASK)
    handler = PipeHandler(pipe)
    handler.start()
    try:
        yield handler
    finally:
        handler.stop()


def given(handler: PipeHandler, task_id: str) -> None:
    task = DXO(DataKind.WEIGHTS, {"w": np.ones(3)}).to_shareable()
    for key, value in {
        HeaderKey.TASK_ID: task_id,
        HeaderKey.TASK_NAME: "train",
        HeaderKey.JOB_ID: "job-7",
    }.items():
        task.set_header(key, value)
    assert handler.send_to_peer(Message.new_request("train", task, task_id), timeout=LONG)


def answer_of(handler: PipeHandler) -> list[float]:
    reply = handler.wait_next(LONG)
    assert reply is not None
    handler.accept(reply)
    return list(from_shareable(reply.data).data["w"])


@pytest.mark.parametrize("named_by", ["argument", "FEDERANT_JOIN", "FEDERANT_KIT"])
def test_an_agent_joins_by_its_kit(
    kit: Kit,
    kits: FederationKits,
    tls_relay: str,
    new_cell_pipe: NewPipe,
    monkeypatch: pytest.MonkeyPatch,
    named_by: str,
) -> None:
    if named_by != "argument":
        monkeypatch.setenv(named_by, str(kit.folder))
    with (
        join(kit.folder if named_by == "argument" else None) as agent,
        client_job(new_cell_pipe, tls_relay, kits.sites["site-1"]) as job,
    ):
        assert isinstance(agent.metric_pipe, CellPipe)
        assert (agent.site_name, agent.job_id) == ("site-1", "")
        given(job, "task-1")
        task = agent.get_task(timeout=LONG)
        assert task is not None
        assert agent.job_id == "job-7"
        submitted = in_thread(agent.submit_result, task.data)
        assert answer_of(job) == [1.0, 1.0, 1.0]
        assert submitted.result(LONG) is True


def test_a_script_of_three_calls_joins_by_a_kit(
    kit: Kit, kits: FederationKits, tls_relay: str, new_cell_pipe: NewPipe
) -> None:
    flare.init(config_file=str(kit.folder))
    try:
        assert flare.get_site_name() == "site-1"
        with client_job(new_cell_pipe, tls_relay, kits.sites["site-1"]) as job:
            given(job, "task-1")
            model = flare.receive(timeout=LONG)
            assert model is not None
            assert flare.get_job_id() == "job-7"
            params = {"w": model.params["w"] + 1}
            sent = in_thread(flare.send, flare.FLModel(params=params))
            assert answer_of(job) == [2.0, 2.0, 2.0]
            assert sent.result(LONG) is True
    finally:
        flare.shutdown()


def test_another_rank_knows_the_site_and_dials_nobody(
    dialling: Dialling, kits: FederationKits
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        kit = dialling(kits.agents["site-1.gpu-7"], f"https://127.0.0.1:{nobody.getsockname()[1]}")
        context = flare.init(rank=1, config_file=str(kit.folder))
        assert flare.get_site_name() == "site-1"
        with pytest.raises(flare.ApiCallError, match="only rank 0 talks"):
            flare.receive()
        context.api.shutdown()
        nobody.setblocking(False)
        with pytest.raises(BlockingIOError):
            nobody.accept()


def refusal_of(kit: Kit, **options: float) -> str:
    with pytest.raises(JoinError) as refusal:
        join(kit.folder, **options)  # type: ignore[arg-type]
    told = str(refusal.value)
    assert told.startswith(f"{kit.folder}, the kit of agent gpu-7 of site site-1: ")
    return told


def test_a_kit_whose_certificate_has_expired_is_told(
    dialling: Dialling, kits: FederationKits, tls_relay: str, odd: Callable[..., Kit]
) -> None:
    expired = odd(kits.agents["site-1.gpu-7"].identity, Odd.EXPIRED)
    told = refusal_of(dialling(expired, tls_relay))
    assert "own_certificate_expired" in told
    assert "federant provision renew" in told


def test_a_key_that_others_can_read_is_told(kit: Kit) -> None:
    kit.key.chmod(0o644)
    assert f"run: chmod 600 {kit.key}" in refusal_of(kit)


def test_a_relay_that_is_not_there_is_told_once_it_was_waited_for(
    dialling: Dialling, kits: FederationKits
) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        kit = dialling(kits.agents["site-1.gpu-7"], f"https://127.0.0.1:{port}")
        told = refusal_of(kit, heartbeat_timeout=1.0)
    assert f"no relay was reached within 1 s: https://127.0.0.1:{port}: " in told
    assert "no relay answers there" in told
    assert f"Its address, {kit.relay}, stands in {kit.folder / 'kit.toml'}" in told


def test_a_relay_that_comes_late_is_waited_for(dialling: Dialling, kits: FederationKits) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    kit = dialling(kits.agents["site-1.gpu-7"], f"https://127.0.0.1:{port}")
    joining = in_thread(join, kit.folder)
    admission = Admission("site-1", kits.sites["site-1"])
    relay = RelayThread("site-1", "127.0.0.1", port, admission, admission.context())
    try:
        agent = joining.result(LONG)
        assert isinstance(agent, FlareAgent)
        agent.stop()
    finally:
        relay.stop()


def test_the_relay_of_another_site_is_told(dialling: Dialling, kits: FederationKits) -> None:
    admission = Admission("site-2", kits.sites["site-2"])
    relay = RelayThread("site-2", "127.0.0.1", 0, admission, admission.context())
    try:
        url = f"https://127.0.0.1:{relay.port}"
        told = refusal_of(dialling(kits.agents["site-1.gpu-7"], url))
    finally:
        relay.stop()
    assert "what answers there is site site-2, not the relay of site site-1" in told


def test_an_agent_that_hears_no_client_job_says_what_to_compare(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("federant.client.silence.PATIENCE_SECONDS", 0.0)
    with join(kit.folder) as agent:
        assert agent.get_task(timeout=0.0) is None
        assert agent.get_task(timeout=0.1) is None
    assert f"root_url={kit.relay}" in caplog.text
    assert (
        'has its trainer in the site\'s file pipe = "cell" and agent_id = "gpu-7"?' in caplog.text
    )


def test_a_kit_that_is_in_use_is_told(kit: Kit) -> None:
    with join(kit.folder):
        assert "site-1.gpu-7.agent" in (told := refusal_of(kit)), told
