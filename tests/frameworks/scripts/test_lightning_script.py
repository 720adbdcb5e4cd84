"""A Lightning script written for nvflare.client.lightning, with its import alone changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from federant.link.operator import Job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).with_name("lightning_train.py")
SITES = ("site-1", "site-2")


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_lightning_with_validation_first_whole_or_as_difference(
    federated: Callable[..., Job], changed_script: Callable[[Path], str], transfer: str
) -> None:
    script = changed_script(SCRIPT)
    job = federated({site: [script] for site in SITES}, rounds=3, transfer=transfer)
    scores = [model.metrics["initial_metrics"]["val_acc"] for model in job.models()]
    assert len(scores) == 3
    assert scores[2] > scores[0]
    assert all(isinstance(value, torch.Tensor) for value in job.model().data.values())
