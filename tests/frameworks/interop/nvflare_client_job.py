"""nvflare's own client job end, TaskExchanger and MetricRelay; started with nvflare's interpreter.

Gives the trainer a few tasks and says on its standard output what came back.
"""

import json
import sys
import threading
from unittest.mock import MagicMock

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.decomposers import common_decomposers
from nvflare.app_common.executors.task_exchanger import TaskExchanger
from nvflare.app_common.widgets.metric_relay import MetricRelay
from nvflare.fuel.utils.constants import Mode
from nvflare.fuel.utils.pipe.file_pipe import FilePipe

root, rounds, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
flare_decomposers.register()
common_decomposers.register()

pipes = {"task": FilePipe(Mode.PASSIVE, root, 0.01), "metric": FilePipe(Mode.PASSIVE, root, 0.01)}
engine = MagicMock()
engine.get_component.side_effect = pipes.get
context = FLContext()
context.set_prop(ReservedKey.ENGINE, engine, private=True, sticky=False)
context.set_prop(ReservedKey.IDENTITY_NAME, "site-1", private=False, sticky=False)
context.set_prop(FLContextKey.CURRENT_RUN, "job-1", private=False, sticky=False)


all_metrics_came = threading.Event()
metrics = []


class Relay(MetricRelay):
    def _pipe_msg_cb(self, msg):
        record = msg.data
        metrics.append(record)
        if len(metrics) == rounds:
            all_metrics_came.set()
        say(metric=record.data["track_value"], tag=record.data["track_key"])


def say(**facts):
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


exchanger = TaskExchanger(
    "task", read_interval=0.01, result_poll_interval=0.01, heartbeat_interval=1.0
)
relay = Relay("metric", read_interval=0.01)
relay.handle_event(EventType.ABOUT_TO_START_RUN, context)
exchanger.handle_event(EventType.START_RUN, context)
say(open=True)
weights = np.zeros(length, np.float32)
for number in range(rounds):
    for part in (exchanger, relay):
        part.handle_event(EventType.BEFORE_TASK_EXECUTION, context)
    task = DXO(DataKind.WEIGHTS, data={"w": weights, "names": ["a", "b"]}).to_shareable()
    task.set_header(FLContextKey.TASK_ID, f"task-{number}")
    task.set_header(FLContextKey.TASK_NAME, "train")
    task.set_header(AppConstants.CURRENT_ROUND, number)
    task.set_header(AppConstants.NUM_ROUNDS, rounds)
    result = exchanger.execute("train", task, context, Signal())
    rc = result.get_return_code()
    if rc != "OK":
        say(rc=rc)
        continue
    dxo = from_shareable(result)
    weights = dxo.data["w"]
    say(
        rc=rc,
        kind=str(dxo.data_kind.value),
        mean=float(weights.mean()),
        dtype=str(weights.dtype),
        round=result.get_header(AppConstants.CURRENT_ROUND),
        meta=dxo.meta,
    )
all_metrics_came.wait(30)
for part in (relay, exchanger):
    part.handle_event(EventType.ABOUT_TO_END_RUN, context)
