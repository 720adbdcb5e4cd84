"""The callback by which a Trainer's hooks become turns of the federation."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from federant.client.torch.turns import Turns

META_ATTRIBUTE = "__fl_meta__"
"""Of a LightningModule: a dict that goes with each result as its meta."""


class FederationHooks:
    """What happens at each hook; the class of Lightning's that calls them is joined to it below."""

    def __init__(self, turns: Turns, *, restore_state: bool) -> None:
        self._turns = turns
        self._restore_state = restore_state
        self._first_step = 0
        self._optimizers: list[dict[str, Any]] = []
        self._schedulers: list[dict[str, Any]] = []

    def on_validation_start(self, _trainer: Any, pl_module: Any) -> None:
        self._turns.begin_evaluation(pl_module)

    def on_validation_end(self, trainer: Any, _pl_module: Any) -> None:
        if not trainer.sanity_checking:  # which looks at a few batches only
            self._turns.evaluated(trainer.callback_metrics)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if not self._turns.begin_training(pl_module):
            trainer.should_stop = True
        self._first_step = trainer.global_step
        for optimizer, state in zip(trainer.optimizers, self._optimizers, strict=False):
            optimizer.load_state_dict(state)
        for config, state in zip(trainer.lr_scheduler_configs, self._schedulers, strict=False):
            config.scheduler.load_state_dict(state)

    def on_train_batch_start(self, *_: Any) -> None:
        self._turns.stepped()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self._restore_state:
            configs = trainer.lr_scheduler_configs
            self._optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
            self._schedulers = [config.scheduler.state_dict() for config in configs]
        meta = getattr(pl_module, META_ATTRIBUTE, {})
        if not isinstance(meta, dict):
            raise TypeError(
                f"{META_ATTRIBUTE} of {type(pl_module).__name__} must be a dict, the meta of what "
                f"is sent, got a {type(meta).__name__}"
            )
        self._turns.trained(pl_module, trainer.global_step - self._first_step, meta)


@cache
def callback_class(package: str) -> type[FederationHooks]:
    """The hooks as a Callback of `lightning.pytorch` or `pytorch_lightning`."""
    base = import_module(f"{package}.callbacks").Callback
    return type("FLCallback", (FederationHooks, base), {"__doc__": FederationHooks.__doc__})
