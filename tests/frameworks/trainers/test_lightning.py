"""A patched Trainer of Lightning's, task by task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

import federant.client.lightning as flare
from federant.client import ApiCallError, FLModel

# Lightning warns of the number of workers, of what torch has deprecated, and the like.
pytestmark = pytest.mark.filterwarnings("ignore")

BATCHES = 4


class Climber(pl.LightningModule):
    """Its one weight grows by the learning rate with each step, and by momentum beyond."""

    def __init__(self, momentum: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.momentum = momentum
        self.validated: list[float] = []

    def training_step(self, *_: Any) -> torch.Tensor:
        return -self.weight.sum()

    def validation_step(self, *_: Any) -> None:
        self.validated.append(self.weight.item())
        self.log("height", self.weight.detach())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0, momentum=self.momentum)


def weight(value: float) -> FLModel:
    return FLModel(params={"weight": np.array([value], np.float32)})


def trainer(**options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    options = {"max_epochs": 1, "enable_model_summary": False, "accelerator": "cpu", **options}
    return pl.Trainer(**quiet, **options)


def run(module: Climber, trainer: pl.Trainer, *, validate: bool = True) -> None:
    """The loop that a script has."""
    batches = DataLoader(range(BATCHES))
    while flare.is_running():
        if validate:
            trainer.validate(module, batches, verbose=False)
        trainer.fit(module, batches, batches)


def test_the_received_model_is_validated_then_trained_and_both_go_back(scripted: Any):
    agent = scripted(("train", weight(10.0)))
    patched = trainer()
    flare.patch(patched)
    run(Climber(), patched)
    (result,) = agent.results
    assert result.metrics == {"height": 10.0}
    assert result.params["weight"].tolist() == [14.0]
    assert result.meta == {"NUM_STEPS_CURRENT_ROUND": BATCHES}


def test_every_round_trains_as_many_epochs_as_the_first(scripted: Any):
    agent = scripted(*[("train", weight(value)) for value in (10.0, 20.0, 30.0)])
    patched = trainer(max_epochs=2)
    flare.patch(patched)
    run(Climber(), patched)
    assert [result.params["weight"].item() for result in agent.results] == [18.0, 28.0, 38.0]
    assert {result.meta["NUM_STEPS_CURRENT_ROUND"] for result in agent.results} == {2 * BATCHES}


def test_every_round_trains_as_many_steps_as_the_first(scripted: Any):
    agent = scripted(*[("train", weight(value)) for value in (10.0, 20.0)])
    patched = trainer(max_steps=3, max_epochs=-1)
    flare.patch(patched)
    run(Climber(), patched)
    assert [result.params["weight"].item() for result in agent.results] == [13.0, 23.0]


def test_fit_alone_loads_the_model_and_has_no_scores(scripted: Any):
    agent = scripted(("train", weight(10.0)))
    patched = trainer(num_sanity_val_steps=2)
    flare.patch(patched)
    run(Climber(), patched, validate=False)
    (result,) = agent.results
    assert result.metrics is None
    assert result.params["weight"].tolist() == [14.0]


@pytest.mark.parametrize("restore", [True, False])
def test_the_optimizer_goes_on_where_the_last_round_ended(scripted: Any, restore: bool):
    agent = scripted(*[("train", weight(0.0)) for _ in range(2)])
    patched = trainer(max_steps=2, max_epochs=-1)
    flare.patch(patched, restore_state=restore)
    run(Climber(momentum=0.5), patched)
    # Steps of 1, 1.5, then 1.75, 1.875 by what the momentum remembers.
    second = 1.75 + 1.875 if restore else 2.5
    assert [result.params["weight"].item() for result in agent.results] == [2.5, second]


def test_a_task_to_evaluate_is_answered_by_scores_and_not_trained(scripted: Any):
    agent = scripted(("validate", weight(7.0)), ("train", weight(10.0)))
    module, patched = Climber(), trainer()
    flare.patch(patched)
    run(module, patched)
    evaluated, trained = agent.results
    assert (evaluated.params, evaluated.metrics) == (None, {"height": 7.0})
    assert trained.params["weight"].tolist() == [14.0]


def test_a_task_for_the_sites_own_model_is_answered_by_what_it_has(scripted: Any):
    agent = scripted(("train", weight(10.0)), ("submit_model", FLModel()))
    patched = trainer()
    flare.patch(patched)
    run(Climber(), patched)
    assert [result.params["weight"].item() for result in agent.results] == [14.0, 14.0]


def test_fit_alone_cannot_answer_a_task_to_evaluate(scripted: Any):
    scripted(("validate", weight(7.0)))
    patched = trainer()
    flare.patch(patched)
    with pytest.raises(ApiCallError, match="asks for scores and not for training"):
        run(Climber(), patched, validate=False)


def test_what_is_validated_after_the_training_is_the_sites_own(scripted: Any):
    agent = scripted(("train", weight(10.0)))
    module, patched, batches = Climber(), trainer(), DataLoader(range(1))
    flare.patch(patched)
    patched.fit(module, batches)
    patched.validate(module, batches, verbose=False)
    assert module.validated == [11.0]
    assert len(agent.results) == 1


def test_the_modules_own_meta_goes_with_the_result(scripted: Any):
    agent = scripted(*[("train", weight(0.0)) for _ in range(2)])
    module, patched = Climber(), trainer()
    module.__fl_meta__ = {"NUM_STEPS_CURRENT_ROUND": 99, "hospital": "north"}
    flare.patch(patched)
    patched.fit(module, DataLoader(range(1)))
    assert agent.results[0].meta == {"NUM_STEPS_CURRENT_ROUND": 99, "hospital": "north"}
    module.__fl_meta__ = 99
    with pytest.raises(TypeError, match="__fl_meta__ of Climber must be a dict"):
        patched.fit(module, DataLoader(range(1)))


def test_a_model_of_other_names_is_refused_unless_that_is_wanted(scripted: Any):
    other = {"weight": np.ones(1, np.float32), "bias": np.ones(1, np.float32)}
    scripted(("train", FLModel(params=dict(other))))
    patched = trainer()
    flare.patch(patched)
    with pytest.raises(ValueError, match="it has 'bias', which the module has not"):
        run(Climber(), patched)
    agent = scripted(("train", FLModel(params=dict(other))))
    patched = trainer()
    flare.patch(patched, load_state_dict_strict=False)
    run(Climber(), patched)
    assert agent.results[0].params["weight"].tolist() == [5.0]


def test_patch_wants_a_trainer_and_once(scripted: Any):
    scripted()
    with pytest.raises(TypeError, match="got a Climber"):
        flare.patch(Climber())
    patched = trainer()
    flare.patch(patched)
    with pytest.raises(ApiCallError, match="patched already"):
        flare.patch(patched)
