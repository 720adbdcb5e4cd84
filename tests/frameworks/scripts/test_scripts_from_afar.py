"""The same scripts on another machine than their site: all they are given is an agent's kit."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from federant.exchange import DXO, DataKind
from federant.link.operator import Job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
SITES = ("site-1", "site-2")
SECONDS = 600.0

Changed = Callable[[Path], str]
Run = Callable[..., Job]


def test_pytorch_with_evaluation_first_as_difference_and_its_losses(
    run_from_afar: Run, changed_script: Changed
) -> None:
    script = changed_script(HERE / "torch_evaluate_first.py")
    net = runpy.run_path(script, run_name="alone")["Net"]()
    job = run_from_afar(
        {site: [script, "--epochs", "3"] for site in SITES},
        initial_model=DXO(DataKind.WEIGHTS, dict(net.state_dict())),
        rounds=2,
        transfer="DIFF",
        seconds=SECONDS,
    )
    found = job.model().data
    assert {name: value.dtype for name, value in found.items()} == {
        name: value.dtype for name, value in net.state_dict().items()
    }
    assert all(isinstance(value, torch.Tensor) for value in found.values())
    assert all(model.metrics["initial_metrics"]["accuracy"] > 0 for model in job.models())
    losses = {
        (event.site, event.step)
        for event in job.events().events
        if (event.kind, event.tag) == ("METRIC", "train_loss")
    }
    assert losses == {(site, step) for site in SITES for step in range(2 * 3 * 8)}


def test_lightning_with_validation_first(run_from_afar: Run, changed_script: Changed) -> None:
    script = changed_script(HERE / "lightning_train.py")
    job = run_from_afar({site: [script] for site in SITES}, rounds=3, seconds=SECONDS)
    scores = [model.metrics["initial_metrics"]["val_acc"] for model in job.models()]
    assert len(scores) == 3
    assert scores[2] > scores[0]


def test_of_two_processes_one_dials(run_from_afar: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    # A second one that dialled would be refused: an agent's name is for one at a time.
    script = HERE.parent / "torch" / "many_processes.py"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    job = run_from_afar({"site-1": [*torchrun, str(script), "well"]}, rounds=2, seconds=SECONDS)
    # Each round the ranks' totals are added: 1 + 2, then 3 + 1 + 3 + 2.
    assert job.model().data["total"].tolist() == [9.0]
