"""The Hugging Face example in a federation of two sites, and beside training on all the data."""

from __future__ import annotations

from typing import Any

import pytest

from federant.client.torch import load_parameters

# Transformers warns of what torch has deprecated, and the like.
pytestmark = pytest.mark.filterwarnings("ignore")

EXAMPLE = "huggingface_trainer.py"
ROUNDS = 8
SECONDS = 600.0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_sites_learn_the_digits_of_which_each_lacks_one(
    federated_digits: Any, example: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    job = federated_digits("012345678", "123456789", rounds=ROUNDS, seconds=SECONDS)
    train, held_out = example["split_digits"]()

    def score(trainer: Any) -> float:
        return float(trainer.evaluate()["eval_accuracy"])

    trainer = example["new_trainer"](example["new_model"](), train, held_out)
    load_parameters(trainer.model, job.model().data)
    federated_score = score(trainer)

    pooled = example["new_trainer"](example["new_model"](), train, held_out, epochs=ROUNDS)
    pooled.train()
    # Found: 0.906 federated, 0.936 pooled.
    assert federated_score > score(pooled) - 0.1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_with_lora_only_the_adapters_and_the_new_head_travel(
    federated: Any, example: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    job = federated({"site-1": [example["__file__"], "--lora"]}, rounds=1, seconds=SECONDS)
    names = list(job.model().data)
    assert any("lora_A" in name for name in names)
    assert all("lora_" in name or "classifier" in name for name in names)
