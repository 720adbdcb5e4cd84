"""Logs everything that a trainer can, and hands its tasks back."""

import numpy as np

import federant
from federant.client.tracking import MLflowWriter, SummaryWriter

agent = federant.join()
writer = SummaryWriter()
for task in agent.tasks():
    for step in range(5000):
        writer.add_scalar("train/loss", 1 / (1 + step), step)
    writer.add_scalar("odd", float("nan"), 1)
    writer.add_text("note", "word " * 10_000, 1)
    writer.add_text("empty", "")
    writer.add_image("sample", np.full((3, 40, 50), 0.5), 1)
    MLflowWriter(agent).log_param("lr", 0.1)
    writer.flush()
    agent.submit_result(task.data)
