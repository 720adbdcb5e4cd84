"""The Lightning example in a federation of two sites, and beside training on all the data."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils.data import DataLoader

from federant.client.torch import load_parameters

# Lightning warns of the number of workers, of what torch has deprecated, and the like.
pytestmark = pytest.mark.filterwarnings("ignore")

EXAMPLE = "lightning_trainer.py"
ROUNDS = 6
SECONDS = 600.0


def score(example: dict[str, Any], network: Any) -> float:
    trainer = example["new_trainer"]()
    _, held_out = example["split_digits"]()
    (metrics,) = trainer.validate(network, DataLoader(held_out, 1000), verbose=False)
    return float(metrics["accuracy"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_sites_learn_the_digits_that_each_has_only_half_of(
    federated_digits: Any, example: dict[str, Any]
) -> None:
    job = federated_digits("02468", "13579", rounds=ROUNDS, seconds=SECONDS)
    network = example["Digits"]()
    load_parameters(network, job.model().data)
    federated_score = score(example, network)

    def trained(digits: str) -> float:
        network = example["Digits"]()
        train, _ = example["split_digits"](digits)
        trainer = example["new_trainer"]()
        trainer.fit_loop.max_epochs = ROUNDS
        trainer.fit(network, DataLoader(train, 32, shuffle=True))
        return score(example, network)

    pooled, alone = trained("0123456789"), trained("02468")
    # Found: 0.864 federated, 0.917 pooled, 0.469 alone.
    assert federated_score > pooled - 0.1
    assert federated_score > alone + 0.2
