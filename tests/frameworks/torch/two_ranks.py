"""One of two processes of a group: what each sees when a scripted agent talks for them.

    python two_ranks.py RANK STORE

prints a JSON object.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch.distributed as dist

from federant.client import AgentEndException, APIContext, FLModel, Task, api, evaluate, train
from federant.client.errors import FlareAgentException
from federant.client.torch.group_talker import GroupTalker
from federant.exchange import DXO, AnalyticsDataType, HeaderKey


class Scripted:
    """Gives what is in the script, and raises what is an exception there."""

    site_name, job_id = "site-1", "job-7"

    def __init__(self) -> None:
        headers = {HeaderKey.TRANSFER_TYPE: "DIFF"}
        model = FLModel(params={"w": np.arange(3.0)}, current_round=4, total_rounds=9)
        self.tasks: list[Any] = [
            Task("train", "t1", model, headers=headers),
            None,
            Task("validate", "t2", FLModel(params={"w": np.ones(3)})),
            AgentEndException("the job has ended"),
        ]
        self.results: list[Any] = []
        self.logged: list[DXO] = []

    def get_task(self, timeout: float | None = None) -> Task | None:  # noqa: ARG002 - the agent's signature
        task = self.tasks.pop(0)
        if isinstance(task, Exception):
            raise task
        return task

    def submit_result(self, result: FLModel) -> bool:
        if result.metrics and "object" in result.metrics:
            raise TypeError("metrics['object'] cannot travel")
        self.results.append(result)
        return len(self.results) == 1

    def log(self, record: DXO) -> bool:
        self.logged.append(record)
        return True

    def stop(self) -> None:
        """Nothing to stop."""


def error_of(call: Any) -> str:
    try:
        call()
    except (FlareAgentException, TypeError, OSError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main(rank: int, store: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    agent = Scripted() if rank == 0 else None
    talker = GroupTalker(agent)
    api.use(APIContext(rank, agent=talker))
    # Rank 0 may have its first task before the others can hear of it.
    if rank == 0:
        api.receive()
    else:
        seen["alone"] = error_of(api.receive)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    talker.meet()
    model = api.receive()
    assert model is not None
    seen["place"] = api.system_info()
    seen["task"] = [api.get_task_name(), model.params["w"].tolist(), model.current_round]
    seen["logged"] = api.log("loss", 0.5, AnalyticsDataType.SCALAR)
    seen["unsent"] = error_of(lambda: api.send(FLModel(metrics={"object": object()})))
    good = FLModel(params={"w": np.ones(3)})
    wrong: dict[str, Any] = {
        "key": FLModel(params={"v": np.ones(3)}),
        "shape": FLModel(params={"w": np.ones(4)}),
        "empty": FLModel(),
        "dict": {"w": np.ones(3)},
    }
    for name, sent in wrong.items():
        # Only in rank 0 something is wrong: the others have no part in it, and yet they hear of it.
        seen[name] = error_of(lambda sent=sent: api.send(sent if rank == 0 else good))
    seen["trained"] = error_of(train(lambda _: "nothing" if rank == 0 else good))
    seen["scored"] = error_of(evaluate(lambda _: "well" if rank == 0 else 0.5))
    seen["others"] = error_of(evaluate(lambda _: 0.5 if rank == 0 else "well"))
    params = {"w": np.full(3, 5.0) + rank}
    seen["accepted"] = api.send(FLModel(params=params))
    seen["none"] = api.receive(timeout=0.1)
    second = api.receive()
    assert second is not None
    seen["second"] = [api.is_evaluate(), second.params["w"].tolist()]
    seen["refused"] = api.send(FLModel(metrics={"accuracy": 0.5}) if rank == 0 else FLModel())
    seen["again"] = error_of(lambda: api.send(good))
    seen["running"] = api.is_running()
    if agent is not None:
        agent.tasks += [OSError("the disk is full"), FileNotFoundError("no x\udc80"), KeyError("w")]
    seen["failed"] = [error_of(api.receive) for _ in range(3)]
    if agent is not None:
        seen["results"] = [agent.results[0].params["w"].tolist(), agent.results[1].metrics]
        seen["types"] = [str(result.params_type) for result in agent.results]
        seen["records"] = len(agent.logged)
    dist.destroy_process_group()
    return seen


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), sys.argv[2])))  # noqa: T201 - the test reads it
