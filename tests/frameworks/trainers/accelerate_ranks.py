"""A plain loop of PyTorch with an Accelerator, which does well or crashes in the second process.

accelerate launch --multi_gpu --num_processes 2 accelerate_ranks.py well|crash
"""

import sys

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

import federant.client as flare
from federant.client.torch import distributed, load_parameters, parameters_of


def main(fate: str) -> None:
    accelerator = Accelerator(cpu=True)
    climber = nn.Linear(1, 1, bias=False)  # its one weight grows by the mean of the rows of a step
    nn.init.zeros_(climber.weight)
    model, optimizer, rows = accelerator.prepare(
        climber,
        torch.optim.SGD(climber.parameters(), lr=1.0),
        DataLoader(torch.arange(8.0).reshape(8, 1)),
    )
    distributed.init()
    while flare.is_running():
        received = flare.receive()
        assert received is not None
        load_parameters(model, received.params)
        for row in rows:
            if fate == "crash" and accelerator.process_index == 1:
                raise ArithmeticError("no luck in rank 1")
            optimizer.zero_grad()
            accelerator.backward(-model(row).mean())
            optimizer.step()
        flare.send(flare.FLModel(params=parameters_of(model)))
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1])
