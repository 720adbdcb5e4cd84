"""A PyTorch network that learns handwritten digits at a site which has only some of them.

An ordinary script; the lines with ``flare`` and ``_parameters`` make it part of a federation:

    python pytorch_trainer.py --digits 0123456
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn

import federant.client as flare
from federant.client.torch import load_parameters, parameters_of


def split_digits(digits="0123456789"):
    """Images (n, 1, 8, 8) and labels of these digits to learn from, then of all to judge by."""
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    labels = torch.tensor(labels)
    held_out = torch.arange(len(labels)) % 5 == 0
    ours = ~held_out & torch.isin(labels, torch.tensor([int(digit) for digit in digits]))
    return (images[ours], labels[ours]), (images[held_out], labels[held_out])


def new_network():
    """The same first weights at every site."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * 4 * 4, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


def train_epoch(network, images, labels, rate=0.05):
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    for rows in torch.randperm(len(labels)).split(32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
        optimizer.step()


def accuracy(network, images, labels):
    network.eval()
    with torch.no_grad():
        return (network(images).argmax(1) == labels).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description="Train on one site's digits.")
    parser.add_argument("--digits", default="0123456789", help="the digits that this site has")
    args = parser.parse_args()
    mine, _ = split_digits(args.digits)
    network = new_network()

    flare.init()
    while flare.is_running():
        model = flare.receive()
        load_parameters(network, model.params)
        before = accuracy(network, *mine)
        train_epoch(network, *mine)
        flare.send(
            flare.FLModel(
                params=parameters_of(network),
                metrics={"accuracy": before},
                meta={"NUM_STEPS_CURRENT_ROUND": len(mine[1])},
            )
        )


if __name__ == "__main__":
    main()
