"""A small network in PyTorch: evaluates the global model, trains on, sends its state back."""

import argparse

import nvflare.client as flare
import torch
from nvflare.client.tracking import SummaryWriter
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.Tanh())
        self.head = nn.Linear(16, 2)

    def forward(self, inputs):
        return self.head(self.body(inputs))


def load_data(seed, count=256):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 2, generator=generator)
    return TensorDataset(points, (points.norm(dim=1) > 1.2).long())


def evaluate(net, dataset):
    net.eval()
    points, labels = dataset.tensors
    with torch.no_grad():
        return float((net(points).argmax(dim=1) == labels).float().mean())


def train(net, loader, epochs, writer=None, first_step=0):
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    step = first_step
    for _ in range(epochs):
        for points, labels in loader:
            optimizer.zero_grad()
            loss = criterion(net(points), labels)
            loss.backward()
            optimizer.step()
            if writer:
                writer.add_scalar("train_loss", loss.item(), global_step=step)
            step += 1
    return step - first_step


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = Net().to(device)

    flare.init()
    seed = int(flare.get_site_name()[-1])
    train_set, test_set = load_data(seed), load_data(seed + 100)
    loader = DataLoader(train_set, batch_size=32)
    writer = SummaryWriter()

    while flare.is_running():
        input_model = flare.receive()
        net.load_state_dict(input_model.params)
        net.to(device)
        accuracy = evaluate(net, test_set)

        first_step = input_model.current_round * args.epochs * len(loader)
        steps = train(net, loader, args.epochs, writer, first_step)

        output_model = flare.FLModel(
            params=net.cpu().state_dict(),
            metrics={"accuracy": accuracy},
            meta={"NUM_STEPS_CURRENT_ROUND": steps},
        )
        flare.send(output_model)


if __name__ == "__main__":
    main()
