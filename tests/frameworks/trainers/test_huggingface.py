"""A patched Trainer of Hugging Face's, task by task."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, Trainer

import federant.client as flare
from federant.client import ApiCallError, FLModel
from federant.client.huggingface import patch
from federant.client.torch import parameters_of

# Transformers warns of what torch has deprecated, and the like.
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = 6

# What the trainers of many processes are made of: a module whose weight grows by 1 with each step.
_RANKS = runpy.run_path(str(Path(__file__).with_name("huggingface_ranks.py")))
Climber, arguments = _RANKS["Climber"], _RANKS["arguments"]


def weight(value: float) -> FLModel:
    return FLModel(params={"weight": np.array([value], np.float32)})


def height(prediction: Any) -> dict[str, float]:
    return {"height": float(prediction.predictions[0, 0])}


def trainer(model: nn.Module, folder: Path, **options: Any) -> Trainer:
    settings = arguments(str(folder), batch_size=2, **options)
    rows = [{"labels": 0}] * ROWS
    return Trainer(model, settings, train_dataset=rows, eval_dataset=rows, compute_metrics=height)


def run(trainer: Trainer, *, evaluate: bool = True) -> None:
    """The loop that a script has."""
    while flare.is_running():
        if evaluate:
            trainer.evaluate()
        trainer.train()


def test_the_received_model_is_evaluated_then_trained_and_both_go_back(
    scripted: Any, tmp_path: Path
):
    agent = scripted(("train", weight(10.0)), ("train", weight(20.0)))
    patched = trainer(Climber(), tmp_path)
    patch(patched)
    run(patched)
    first, second = agent.results
    assert first.metrics["eval_height"] == 10.0
    assert second.metrics["eval_height"] == 20.0
    assert first.params["weight"].tolist() == [13.0]
    assert second.params["weight"].tolist() == [23.0]
    assert second.meta == {"NUM_STEPS_CURRENT_ROUND": 3}


def test_train_alone_loads_the_model_and_scores_at_its_start_count(scripted: Any, tmp_path: Path):
    agent = scripted(("train", weight(10.0)))
    patched = trainer(Climber(), tmp_path, eval_on_start=True, eval_strategy="epoch")
    patch(patched)
    run(patched, evaluate=False)
    assert agent.results[0].metrics["eval_height"] == 10.0
    assert agent.results[0].params["weight"].tolist() == [13.0]


def test_a_task_to_evaluate_is_answered_by_scores_and_not_trained(scripted: Any, tmp_path: Path):
    agent = scripted(("validate", weight(7.0)), ("submit_model", FLModel()))
    patched = trainer(Climber(), tmp_path)
    patch(patched)
    run(patched)
    evaluated, own = agent.results
    assert evaluated.params is None
    assert evaluated.metrics["eval_height"] == 7.0
    assert own.params["weight"].tolist() == [7.0]


def test_of_a_model_with_adapters_only_what_is_trained_travels(scripted: Any, tmp_path: Path):
    size = {"hidden_size": 8, "intermediate_size": 8, "vocab_size": 5}
    config = BertConfig(**size, num_hidden_layers=1, num_attention_heads=2)
    lora = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])
    model = get_peft_model(BertForSequenceClassification(config), lora)
    adapters = parameters_of(model, trainable_only=True)
    received = {name: tensor.clone().add_(0.5) for name, tensor in adapters.items()}
    agent = scripted(("train", FLModel(params=dict(received))))
    patched = trainer(model, tmp_path)
    patched.train_dataset = [{"input_ids": [1, 2, 3], "labels": 0}] * 2
    patch(patched)
    frozen = {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if not parameter.requires_grad
    }
    run(patched, evaluate=False)
    (result,) = agent.results
    assert list(result.params) == list(received)
    kinds = {name.split(".")[-2 if "lora" not in name else -3] for name in result.params}
    assert kinds == {"lora_A", "lora_B", "default"}
    assert any(not torch.equal(result.params[name], received[name]) for name in received)
    for name, tensor in model.named_parameters():
        assert name not in frozen or torch.equal(tensor, frozen[name])


def test_patch_wants_a_trainer_and_once(scripted: Any, tmp_path: Path):
    scripted()
    with pytest.raises(TypeError, match="got a Climber"):
        patch(Climber())
    patched = trainer(Climber(), tmp_path)
    patch(patched)
    with pytest.raises(ApiCallError, match="patched already"):
        patch(patched)
