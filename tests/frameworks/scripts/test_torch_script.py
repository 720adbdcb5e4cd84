"""A PyTorch script written for nvflare.client, federated with its imports alone changed."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from federant.exchange import DXO, DataKind
from federant.link.operator import Job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).with_name("torch_evaluate_first.py")
SITES = ("site-1", "site-2")

Changed = Callable[[Path], str]
Federated = Callable[..., Job]


def averaged(states: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of two states of one weight, each part in its own dtype."""
    mean = {}
    for name, first in states[0].items():
        total = sum(state[name].double() for state in states) / len(states)
        mean[name] = (total if first.is_floating_point() else total.round()).to(first.dtype)
    return mean


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_pytorch_with_evaluation_first_whole_or_as_difference(
    federated: Federated, changed_script: Changed, transfer: str
) -> None:
    script = changed_script(SCRIPT)
    alone: dict[str, Any] = runpy.run_path(script, run_name="alone")
    torch.manual_seed(0)
    net = alone["Net"]()
    start = {name: value.clone() for name, value in net.state_dict().items()}
    job = federated(
        {site: [script, "--epochs", "3"] for site in SITES},
        initial_model=DXO(DataKind.WEIGHTS, start),
        rounds=2,
        transfer=transfer,
    )

    expected = start
    for number in range(2):
        states, scores = [], []
        for site in SITES:
            seed = int(site[-1])
            net.load_state_dict(expected)
            scores.append(alone["evaluate"](net, alone["load_data"](seed + 100)))
            loader = torch.utils.data.DataLoader(alone["load_data"](seed), batch_size=32)
            alone["train"](net, loader, 3)
            states.append({name: value.clone() for name, value in net.state_dict().items()})
        assert job.models()[number].metrics["initial_metrics"] == {
            "accuracy": pytest.approx(sum(scores) / 2)
        }
        expected = averaged(states)

    found = job.model().data
    assert list(found) == list(expected)
    for name, value in found.items():
        assert isinstance(value, torch.Tensor)
        assert value.dtype == expected[name].dtype
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)
    losses = {
        (event.site, event.step)
        for event in job.events().events
        if (event.kind, event.tag) == ("METRIC", "train_loss")
    }
    assert losses == {(site, step) for site in SITES for step in range(2 * 3 * 8)}
