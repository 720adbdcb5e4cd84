"""Streams its loss while it trains."""

import nvflare.client as flare
from nvflare.client.tracking import SummaryWriter

flare.init()
writer = SummaryWriter()

while flare.is_running():
    model = flare.receive()
    for step in range(3):
        writer.add_scalar("loss", 1 / (1 + step), global_step=3 * model.current_round + step)
    writer.add_text("note", f"round {model.current_round} of {model.total_rounds}")
    flare.log("accuracy", 0.5, flare.AnalyticsDataType.SCALAR, global_step=model.current_round)
    flare.send(flare.FLModel(params=model.params, metrics={"loss": 0.25}))
writer.flush()
