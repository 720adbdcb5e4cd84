"""A relay and its agents whose kits are renewed while they run, by another authority even."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from federant.cellnet.admission import Admission
from federant.cellnet.relay import RelayThread
from federant.pipe import CellPipe, Mode
from federant.provision import make_federation, open_federation
from federant.testing.two_ends import TASK, pass_on, request

NewPipe = Callable[..., CellPipe]


def test_a_relay_that_runs_takes_those_whose_kits_are_renewed(
    new_cell_pipe: NewPipe, tmp_path: Path
) -> None:
    kits = make_federation(
        tmp_path / "own", sites=["site-1"], agents=[("site-1", "gpu-7"), ("site-1", "gpu-8")]
    )
    site = kits.sites["site-1"]
    admission = Admission("site-1", site)
    relay = RelayThread("site-1", "127.0.0.1", 0, admission, admission.context())
    url = f"https://127.0.0.1:{relay.port}"

    def meet(agent_id: str) -> tuple[CellPipe, CellPipe]:
        agent = new_cell_pipe(Mode.ACTIVE, url, kits.agents[f"site-1.{agent_id}"], token=agent_id)
        job = new_cell_pipe(Mode.PASSIVE, url, site, token=agent_id)
        agent.open(TASK)
        job.open(TASK)
        return agent, job

    agent, job = meet("gpu-7")
    assert pass_on(job, agent, request(1)).data["number"] == 1
    with open_federation(kits.folder) as federation:
        federation.rotate()
        for kit in (kits.server, site, *kits.agents.values()):
            federation.renew(kit.identity)
        federation.retire()
    # Those who are connected stay so, and who comes now is let in by the new authority alone.
    assert pass_on(agent, job, request(2)).data["number"] == 2
    newcomer, other_job = meet("gpu-8")
    assert pass_on(other_job, newcomer, request(3)).data["number"] == 3
    relay.stop()
