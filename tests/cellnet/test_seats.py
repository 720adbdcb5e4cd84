"""Agents of one name, whose kits are for one job or for any: none is in the way of another job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from federant.link.kit import Kit
from federant.pipe import CellPipe, Mode, PeerGoneError, PipeBusyError
from federant.provision import FederationKits
from federant.testing.certificates import odd_kit
from federant.testing.two_ends import LONG, TASK, in_thread, pass_on, receive, request

NewPipe = Callable[..., CellPipe]
Opened = Callable[[str], CellPipe]


@pytest.fixture
def agent_for(
    new_cell_pipe: NewPipe, tls_relay: str, kits: FederationKits, tmp_path: Path
) -> Opened:
    """``agent_for(job)``: agent gpu-7, let in with a kit for that job; for any if it is empty."""

    def open_one(job: str) -> CellPipe:
        identity = replace(kits.agents["site-1.gpu-7"].identity, job=job)
        kit: Kit = odd_kit(tmp_path / f"for-{job}", kits, identity)
        pipe = new_cell_pipe(Mode.ACTIVE, tls_relay, kit, token="gpu-7")
        pipe.open(TASK)
        return pipe

    return open_one


@pytest.fixture
def client_job(new_cell_pipe: NewPipe, tls_relay: str, kits: FederationKits) -> Opened:
    """``client_job(job)``: the one that serves it to gpu-7."""

    def open_one(job: str) -> CellPipe:
        pipe = new_cell_pipe(
            Mode.PASSIVE, tls_relay, kits.sites["site-1"], token="gpu-7", job_id=job
        )
        pipe.open(TASK)
        return pipe

    return open_one


@pytest.mark.parametrize("kit_of_second", ["job-2", ""])
def test_an_agent_that_waits_for_one_job_is_not_in_the_way_of_another(
    agent_for: Opened, client_job: Opened, kit_of_second: str
) -> None:
    first = agent_for("job-1")
    second = agent_for(kit_of_second)
    job = client_job("job-2")
    assert pass_on(second, job, request(1)).data["number"] == 1
    with pytest.raises(PeerGoneError, match="may not take part in job job-2"):
        receive(first)
    assert pass_on(job, second, request(2)).data["number"] == 2


def test_an_agent_for_just_that_job_comes_first_and_the_one_for_any_after_it(
    agent_for: Opened, client_job: Opened
) -> None:
    for_any, for_one = agent_for(""), agent_for("job-1")
    job = client_job("job-1")
    assert pass_on(for_one, job, request(1)).data["number"] == 1
    for_one.close()
    with pytest.raises(PeerGoneError):
        receive(job)
    receiving = in_thread(receive, job)
    assert for_any.send(request(2), LONG)
    assert receiving.result(LONG).data["number"] == 2


def test_a_client_job_is_with_one_agent_at_a_time_whatever_their_kits_are_for(
    agent_for: Opened, client_job: Opened
) -> None:
    first, job = agent_for(""), client_job("job-1")
    pass_on(first, job, request(1))
    with pytest.raises(PipeBusyError, match="an agent_id is for one agent at a time"):
        agent_for("job-1")
    assert pass_on(job, first, request(2)).data["number"] == 2
