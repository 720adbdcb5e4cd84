"""A trainer that still runs nvflare's own agent; the tests start it with nvflare's interpreter."""

import sys

import numpy as np
from nvflare.apis.analytix import AnalyticsDataType
from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.utils.analytix_utils import create_analytic_dxo
from nvflare.client.flare_agent import AgentClosed, FlareAgent
from nvflare.fuel.utils.constants import Mode
from nvflare.fuel.utils.pipe.file_pipe import FilePipe

root, step = sys.argv[1], float(sys.argv[2])
agent = FlareAgent(
    pipe=FilePipe(Mode.ACTIVE, root, 0.01),
    metric_pipe=FilePipe(Mode.ACTIVE, root, 0.01),
    read_interval=0.01,
    heartbeat_interval=1.0,
    heartbeat_timeout=30.0,
    submit_result_timeout=60.0,
    close_pipe=False,
    close_metric_pipe=False,
)
agent.start()
sys.stdout.write("started\n")
sys.stdout.flush()
while True:
    try:
        task = agent.get_task()
    except AgentClosed:
        break
    dxo = task.data
    number = dxo.get_meta_prop(MetaKey.CURRENT_ROUND, 0)
    logged = agent.log(create_analytic_dxo("loss", 1.0 / (number + 1), AnalyticsDataType.SCALAR))
    weights = dxo.data.get("w", np.zeros(20_000, np.float32))
    model = DXO(DataKind.WEIGHTS, data={"w": weights / 2 + np.float32(step)})
    submitted = agent.submit_result(model)
    sys.stdout.write(f"{task.task_name} {number} {logged} {submitted}\n")
    sys.stdout.flush()
agent.stop()
