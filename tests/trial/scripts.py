"""A trainer for trials: ``python scripts.py WAY`` takes part in that way; most ways are wrong."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import federant
import federant.client as flare
from federant import DXO, DataKind, MetaKey
from federant.exchange import AnalyticsDataType, create_analytic_dxo

STEPS = {MetaKey.NUM_STEPS_CURRENT_ROUND: 12}


def fresh():
    return {"layer.w": np.zeros((3, 4), np.float32), "layer.b": np.zeros(4, np.float32)}


def work(change=lambda model, _: model, meta=STEPS):
    """Trains in every round; ``change`` spoils the result."""
    agent = federant.join()
    for task in agent.tasks():
        number = task.data.get_meta_prop("current_round")
        model = {name: value + 1 for name, value in (task.data.data or fresh()).items()}
        agent.log(create_analytic_dxo("loss", 1 / (number + 1), AnalyticsDataType.SCALAR))
        agent.submit_result(DXO(DataKind.WEIGHTS, change(model, number), meta))


def good():
    work()
    sys.stdout.write("the script has ended\n")


def flare_good():
    flare.init()
    while flare.is_running():
        model = flare.receive()
        if flare.is_evaluate():
            flare.send(flare.FLModel(metrics={"accuracy": 0.5}))
            continue
        params = {name: value + 1 for name, value in (model.params or fresh()).items()}
        flare.send(flare.FLModel(params=params, metrics={"accuracy": 0.75}, meta=dict(STEPS)))


def reshaped():
    work(lambda model, number: {**model, "layer.b": np.ones(number + 1, np.float32)})


def nan():
    work(lambda model, _: {**model, "layer.b": np.full(4, np.nan, np.float32)})


def logs_nan():
    flare.init()
    while flare.is_running():
        flare.receive()
        flare.log("loss", float("nan"), AnalyticsDataType.SCALAR)
        flare.send(flare.FLModel(params=fresh(), metrics={"f1": -np.inf}, meta=dict(STEPS)))


def forgets():
    from sklearn.linear_model import LogisticRegression

    from federant.client.sklearn import initialise, load_parameters, parameters_of

    model = initialise(LogisticRegression(), 2, [0, 1])
    agent = federant.join()
    for task in agent.tasks():
        load_parameters(model, task.data.data)
        model.fit([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1])
        agent.submit_result(DXO(DataKind.WEIGHTS, parameters_of(model), STEPS))


def no_weight():
    work(meta=None)


def unchanged():
    work(lambda model, _: {name: value - 1 for name, value in model.items()})


def bad_import():
    import no_such_package  # noqa: F401 - it is to fail


def forgets_init():
    flare.receive()


def crashes():
    work(lambda *_: 1 // 0)


def ends_at_once():
    pass


def joins_and_leaves():
    federant.join()


def never_joins():
    time.sleep(600)


def stays_on():
    work()
    time.sleep(600)


def trips_over_the_end():
    agent = federant.join()
    while True:
        task = agent.get_task()
        agent.submit_result(DXO(DataKind.WEIGHTS, task.data.data or fresh(), STEPS))


def leaves_a_process():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    work()


def one_task():
    agent = federant.join()
    task = agent.get_task()
    agent.submit_result(DXO(DataKind.WEIGHTS, task.data.data or fresh(), STEPS))


def is_told():
    agent = federant.join()
    for _ in agent.tasks():
        sys.stdout.write(f"refused before: {agent.last_refusal}\n")
        agent.submit_result(DXO(DataKind.WEIGHTS, {"w": np.array([np.inf])}, STEPS))


def holds():
    agent = federant.join()
    agent.get_task()
    mark = Path(sys.argv[2] + ".new")
    mark.write_text(str(os.getpid()))
    mark.replace(sys.argv[2])
    time.sleep(600)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
