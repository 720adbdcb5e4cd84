"""A LightningModule: its trainer is patched, validates the global model and trains it on."""

import nvflare.client.lightning as flare
import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class LitNet(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

    def training_step(self, batch, batch_idx):  # noqa: ARG002 - Lightning's signature
        points, labels = batch
        return nn.functional.cross_entropy(self.net(points), labels)

    def validation_step(self, batch, batch_idx):  # noqa: ARG002 - Lightning's signature
        points, labels = batch
        accuracy = (self.net(points).argmax(dim=1) == labels).float().mean()
        self.log("val_acc", accuracy, on_epoch=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def loader(seed):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(256, 2, generator=generator)
    return DataLoader(TensorDataset(points, (points.norm(dim=1) > 1.2).long()), batch_size=32)


def main():
    seed_everything(7, verbose=False)  # the first round brings no model
    model = LitNet()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", devices=1, enable_checkpointing=False, **quiet
    )
    flare.patch(trainer)
    seed = int(flare.get_site_name()[-1])

    while flare.is_running():
        input_model = flare.receive()
        assert input_model.current_round < input_model.total_rounds
        trainer.validate(model, loader(seed + 100), verbose=False)
        trainer.fit(model, loader(seed))


if __name__ == "__main__":
    main()
