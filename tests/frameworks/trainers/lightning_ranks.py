"""A Lightning script of two processes that does well, or crashes in the second one.

python lightning_ranks.py well|crash
"""

import sys
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

import federant.client.lightning as flare


class Climber(pl.LightningModule):
    """Its one weight grows by 1 with each step."""

    def __init__(self, fate: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.fate = fate

    def training_step(self, *_: Any) -> torch.Tensor:
        if self.fate == "crash" and self.global_rank == 1:
            raise ArithmeticError("no luck in rank 1")
        return -self.weight.sum()

    def validation_step(self, *_: Any) -> None:
        self.log("height", self.weight.detach(), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def main(fate: str) -> None:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, **quiet)
    module, rows = Climber(fate), DataLoader(range(8))
    flare.patch(trainer)
    while flare.is_running():
        trainer.validate(module, rows, verbose=False)
        trainer.fit(module, rows)


if __name__ == "__main__":
    main(sys.argv[1])
