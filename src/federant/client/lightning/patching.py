"""What makes a Trainer of Lightning's a site's trainer."""

from __future__ import annotations

import sys
from typing import Any

from federant.client.errors import ApiCallError
from federant.client.lightning.callbacks import callback_class
from federant.client.torch.group_talker import GroupTalker
from federant.client.torch.joining import joined
from federant.client.torch.turns import Turns

PACKAGES = ("lightning.pytorch", "pytorch_lightning")
"""Lightning under both its names."""


def patch(
    trainer: Any,
    restore_state: bool = True,
    load_state_dict_strict: bool = True,
    update_fit_loop: bool = True,
) -> None:
    """Makes a Trainer's ``validate`` and ``fit`` serve the federation's tasks.

        flare.patch(trainer)
        while flare.is_running():
            trainer.validate(model, loader)
            trainer.fit(model, loader)

    ``validate`` loads the received model and scores it. Where the task is to train, the scores wait
    for ``fit``, which trains and sends them with what it made; where it is to evaluate they are
    sent, and ``fit`` does nothing. Without ``validate``, ``fit`` loads the model by itself. What is
    validated after it is the site's own.

    The result has the names of the model that was received. Its weight in a mean is the number of
    steps, unless the module has an attribute ``__fl_meta__``, a dict that goes with the result as
    its meta, with ``NUM_STEPS_CURRENT_ROUND`` in it.

    Args:
        trainer: of `lightning` or `pytorch_lightning`; each process of a script patches its own.
        restore_state: optimizers and learning rate schedulers go on in a round as they ended in the
            one before; otherwise they begin anew, as in each ``fit`` of Lightning's.
        load_state_dict_strict: the received model must have all that the module has, and nothing
            else; see ``federant.client.torch.load_parameters``.
        update_fit_loop: each ``fit`` trains as many epochs and steps as the first. Otherwise
            Lightning takes them for done.

    TypeError for something that is no Trainer; JoinError where nothing says which job to join.
    """
    package = next((name for name in PACKAGES if _is_trainer(trainer, name)), None)
    if package is None:
        raise TypeError(
            f"patch needs a Trainer of {' or '.join(PACKAGES)}, got a {type(trainer).__name__}"
        )
    if isinstance(getattr(trainer, "fit", None), _Fit):
        raise ApiCallError("this trainer is patched already: patch it once, before the loop")
    context = joined(trainer.world_size)
    talker = context.talker
    turns = Turns(context, strict=load_state_dict_strict)
    callback = callback_class(package)(turns, restore_state=restore_state)
    trainer.callbacks.append(callback)
    trainer.fit = _Fit(trainer, turns, talker, update_fit_loop)


class _Fit:
    """Takes the place of a Trainer's ``fit``: nothing where nothing is to be trained."""

    def __init__(self, trainer: Any, turns: Turns, talker: object, update_fit_loop: bool) -> None:
        self._trainer = trainer
        self._fit = trainer.fit
        self._turns = turns
        self._talker = talker
        self._update = update_fit_loop
        self._epochs: int | None = None
        self._steps = -1

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        model = args[0] if args else kwargs.get("model")
        # A process that has not met the others yet does so in the trainer's hooks.
        alone = isinstance(self._talker, GroupTalker) and not self._talker.can_ask
        if model is not None and not alone and not self._turns.begin_training(model):
            return None
        if self._update and self._epochs is not None:
            self._prolong()
        outcome = self._fit(*args, **kwargs)
        if self._epochs is None:
            loop = self._trainer.fit_loop
            self._epochs, self._steps = loop.max_epochs, loop.epoch_loop.max_steps
        return outcome

    def _prolong(self) -> None:
        """As many epochs and steps again; -1 is without limit."""
        trainer, loop = self._trainer, self._trainer.fit_loop
        if self._epochs is not None and self._epochs >= 0:
            loop.max_epochs = trainer.current_epoch + self._epochs
        if self._steps >= 0:
            loop.epoch_loop.max_steps = trainer.global_step + self._steps
        # What Lightning looks at before it trains has been looked at in the first round.
        trainer.num_sanity_val_steps = 0


def _is_trainer(trainer: object, package: str) -> bool:
    module = sys.modules.get(package)
    return module is not None and isinstance(trainer, module.Trainer)
