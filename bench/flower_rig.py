"""Flower's app for a round of federated averaging; runs in the processes that Flower starts.

The server writes the time, in seconds, after each round into the file that the run's configuration
names. A client adds one to the model.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from model_rig import make_model

server = ServerApp()
client = ClientApp()


@server.main()
def average(grid: Grid, context: Context) -> None:
    config = context.run_config
    model = make_model(int(config["size"]))
    report = Path(str(config["report"]))
    sites = int(config["sites"])

    def after(number: int, arrays: ArrayRecord) -> None:
        with report.open("a") as file:
            print(time.time(), file=file)
        first = next(iter(arrays.values())).numpy()
        assert first[0] == 1 + number, f"the model of round {number} has {first[0]}"

    FedAvg(
        fraction_evaluate=0.0,
        min_train_nodes=sites,
        min_available_nodes=sites,
    ).start(
        grid=grid,
        initial_arrays=_record(model),
        num_rounds=int(config["rounds"]),
        evaluate_fn=after,
    )


@client.train()
def train(message: Message, context: Context) -> Message:  # noqa: ARG001 - Flower calls it so
    model = {name: array.numpy() for name, array in message.content["arrays"].items()}
    for values in model.values():
        values += np.float32(1)
    content = RecordDict({"arrays": _record(model), "metrics": MetricRecord({"num-examples": 1})})
    return Message(content=content, reply_to=message)


def _record(model: dict[str, np.ndarray]) -> ArrayRecord:
    return ArrayRecord({name: Array(values) for name, values in model.items()})
