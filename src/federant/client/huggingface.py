"""Hugging Face: a patched ``transformers.Trainer`` evaluates and trains the federation's model.

Of a model with adapters of `peft` only what is trained travels: the adapters.
"""

from __future__ import annotations

from typing import Any

try:
    import torch
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_utils import TrainOutput
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"federant.client.huggingface needs {error.name}, which is not installed: "
        "pip install 'federant[huggingface]'",
        name=error.name,
    ) from error

from federant.client.errors import ApiCallError
from federant.client.torch.joining import joined
from federant.client.torch.state import plain_module
from federant.client.torch.turns import Turns

__all__ = ["patch"]


def patch(
    trainer: Trainer, *, load_strict: bool = True, trainable_only: bool | None = None
) -> None:
    """Makes a Trainer's ``evaluate`` and ``train`` serve the federation's tasks.

        patch(trainer)
        while flare.is_running():
            trainer.evaluate()
            trainer.train()

    ``evaluate`` loads the received model and scores it. Where the task is to train, the scores wait
    for ``train``, which trains for the arguments' number of epochs or steps and sends them with
    what it made; where it is to evaluate they are sent, and ``train`` does nothing. Without
    ``evaluate``, ``train`` loads the model by itself. What is evaluated after it is the site's own.

    The result has the names of the model that was received. Its weight in a mean is the number of
    steps. Joins the federation if ``federant.client.init`` was not called before. With many
    processes (torchrun, accelerate) all of them patch their trainer before they ask for a model,
    and call the functions of ``federant.client`` alike.

    Args:
        trainer: the Trainer, made with its model.
        load_strict: the received model must have all that is to travel, and nothing else; see
            ``federant.client.torch.load_parameters``.
        trainable_only: only parameters that require a gradient travel; None for those of a model of
            `peft` alone.

    TypeError for something that is no Trainer; JoinError where nothing says which job to join.
    """
    if not isinstance(trainer, Trainer):
        raise TypeError(f"patch needs a transformers.Trainer, got a {type(trainer).__name__}")
    if any(isinstance(found, _Hooks) for found in trainer.callback_handler.callbacks):
        raise ApiCallError("this trainer is patched already: patch it once, before the loop")

    def only_trained(module: torch.nn.Module) -> bool:
        has_adapters = getattr(plain_module(module), "peft_config", None) is not None
        return has_adapters if trainable_only is None else trainable_only

    turns = Turns(joined(trainer.args.world_size), strict=load_strict, trainable_only=only_trained)
    trainer.add_callback(_Hooks(turns))
    evaluate, train = trainer.evaluate, trainer.train

    def evaluate_received(*args: Any, **kwargs: Any) -> Any:
        turns.begin_evaluation(trainer.model)
        return evaluate(*args, **kwargs)

    def train_received(*args: Any, **kwargs: Any) -> Any:
        if not turns.begin_training(trainer.model):
            return TrainOutput(trainer.state.global_step, 0.0, {})
        return train(*args, **kwargs)

    trainer.evaluate, trainer.train = evaluate_received, train_received


class _Hooks(TrainerCallback):
    """Tells the turns what the trainer has done."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def on_evaluate(self, *_: Any, metrics: dict[str, Any], **__: Any) -> None:
        self._turns.evaluated(metrics)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._turns.stepped()

    def on_train_end(self, _: Any, state: Any, *__: Any, model: Any, **___: Any) -> None:
        self._turns.trained(model, state.global_step, {})
