"""A LightningModule that learns handwritten digits at a site which has only some of them.

An ordinary script; the lines with ``flare`` make it part of a federation:

    python lightning_trainer.py --digits 01234
"""

import argparse

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import federant.client.lightning as flare


def split_digits(digits="0123456789"):
    """The images of these digits to learn from, then those of all that only judge."""
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    held_out = torch.arange(len(labels)) % 5 == 0
    ours = ~held_out & torch.isin(labels, torch.tensor([int(digit) for digit in digits]))
    return [TensorDataset(images[rows], labels[rows]) for rows in (ours, held_out)]


class Digits(pl.LightningModule):
    def __init__(self):
        super().__init__()
        pl.seed_everything(0, verbose=False)  # the same first weights at every site
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, _):
        images, labels = batch
        return nn.functional.cross_entropy(self.layers(images), labels)

    def validation_step(self, batch, _):
        images, labels = batch
        right = (self.layers(images).argmax(1) == labels).float().mean()
        self.log("accuracy", right, sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def new_trainer(devices=1):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(
        accelerator="cpu", devices=devices, max_epochs=1, enable_model_summary=False, **quiet
    )


def main():
    parser = argparse.ArgumentParser(description="Train on one site's digits.")
    parser.add_argument("--digits", default="0123456789", help="the digits that this site has")
    parser.add_argument("--devices", type=int, default=1, help="processes to train in")
    args = parser.parse_args()
    train, _ = split_digits(args.digits)
    network, trainer = Digits(), new_trainer(args.devices)

    flare.patch(trainer)
    while flare.is_running():
        trainer.validate(network, DataLoader(train, 256), verbose=False)
        trainer.fit(network, DataLoader(train, 32, shuffle=True))


if __name__ == "__main__":
    main()
