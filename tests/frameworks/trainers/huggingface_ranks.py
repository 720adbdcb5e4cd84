"""A script of Hugging Face's Trainer for torchrun: each process has a part of the rows."""

import tempfile
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

import federant.client as flare
from federant.client.huggingface import patch


class Climber(nn.Module):
    """Its one weight grows by 1 with each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": -self.weight.sum(), "logits": self.weight.expand(len(labels), 1)}


def arguments(folder: str, batch_size: int, **options: Any) -> TrainingArguments:
    """One epoch of plain gradient descent on the processor, which keeps nothing in the folder."""
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=batch_size,
        num_train_epochs=1,
        learning_rate=1.0,
        lr_scheduler_type="constant",
        optim="sgd",
        max_grad_norm=0.0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **options,
    )


def main() -> None:
    rows = [{"labels": 0}] * 8
    settings = arguments(tempfile.mkdtemp(), batch_size=1)
    trainer = Trainer(Climber(), settings, train_dataset=rows, eval_dataset=rows)
    flare.init()
    patch(trainer)
    while flare.is_running():
        trainer.evaluate()
        trainer.train()


if __name__ == "__main__":
    main()
