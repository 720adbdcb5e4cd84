"""A trainer for tests: w becomes w / 2 + step; files in its box hold it up and tell of it."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import federant
import federant.client as flare
from federant import DXO, DataKind, MetaKey
from federant.client import metrics
from federant.exchange import AnalyticsDataType, create_analytic_dxo

box, step, *options = Path(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:]
if "bad-import" in options:
    import no_such_package  # noqa: F401 - it is to fail
if "no-join" in options:
    sys.exit(0)
if "no-init" in options:
    flare.receive()
if "send-first" in options:
    flare.init()
    flare.send(flare.FLModel(params={"w": np.zeros(20_000, np.float32)}))
if "flare" in options:
    flare.init()
    while flare.is_running():
        params = flare.receive().params or {"w": np.zeros(20_000, np.float32)}
        flare.send(flare.FLModel(params={"w": params["w"] / 2 + np.float32(step)}))
    sys.exit(0)
if "stubborn" in options:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
agent = federant.join()
sys.stdout.write(f"joined {agent.site_name} {agent.job_id}\n")
for task in agent.tasks():
    number = task.data.get_meta_prop(MetaKey.CURRENT_ROUND)
    (box / f"round-{number}.new").write_text(str(os.getpid()))
    (box / f"round-{number}.new").rename(box / f"round-{number}")
    agent.log(create_analytic_dxo("loss", 1.0 / (number + 1), AnalyticsDataType.SCALAR))
    while (box / f"hold-{number}").exists():
        time.sleep(0.01)
    if f"flood-{number}" in options:
        metrics.QUEUE_LENGTH = 50
        for at in range(2000):
            agent.log_number("flood", float(at), at)
        (box / "flooded.new").write_text(str(agent.metrics_dropped))
        (box / "flooded.new").rename(box / "flooded")
    if f"raise-{number}" in options and not (box / "raised").exists():
        (box / "raised").touch()
        raise ArithmeticError("the loss is no number")
    if f"die-{number}" in options:
        os.kill(os.getpid(), signal.SIGKILL)
    weights = task.data.data.get("w", np.zeros(20_000, np.float32))
    model = DXO(DataKind.WEIGHTS, {"w": weights / 2 + np.float32(step)})
    if f"nan-{number}" in options:
        model.data["w"][7] = np.nan
    if f"reshape-{number}" in options:
        model.data["w"] = model.data["w"].reshape(2, -1)
    if f"rename-{number}" in options:
        model.data["other"] = model.data.pop("w")
    accepted = agent.submit_result(model)
    with (box / "accepted").open("a") as file:
        file.write(f"{number} {accepted}\n")
    if "one-task" in options:
        break
