"""In the place of an agent in each process of a group: rank 0 talks, and the others get the same.

Every call but ``log`` and ``stop`` is made by all ranks, in the same order.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch.distributed as dist

from federant.client.errors import (
    AgentAbortException,
    AgentClosed,
    AgentEndException,
    AgentPeerGoneException,
    ApiCallError,
    CallStateError,
)
from federant.client.join import stand_by
from federant.client.ranks import process_rank
from federant.client.talker import Talker, talker_for
from federant.client.task import Task
from federant.client.torch.broadcast import Broadcast
from federant.exchange import DXO, FLModel, FLModelUtils

_SAME_ERRORS = {
    kind.__name__: kind
    for kind in (
        AgentAbortException,
        AgentClosed,
        AgentEndException,
        AgentPeerGoneException,
        CallStateError,
        ApiCallError,
        TypeError,
        ValueError,
    )
}
"""What the others raise as rank 0 did; anything else becomes an ApiCallError there."""


class GroupTalker:
    """One rank's; ``agent`` is rank 0's alone, and None in the others.

    Made before the process group, rank 0's may already take its first task; ``meet`` hands that on.
    """

    def __init__(self, agent: Talker | None) -> None:
        self.site_name = "" if agent is None else agent.site_name
        self.job_id = "" if agent is None else agent.job_id
        self._agent = agent
        self._broadcast: Broadcast | None = None
        self._first: Task | None = None
        """Taken before the ranks met: by rank 0 to hand on, by the others from its hand."""

    @property
    def can_ask(self) -> bool:
        """Whether there is somebody to ask for a task: the agent, or rank 0 through the group."""
        return self._agent is not None or dist.is_initialized()

    def meet(self) -> None:
        """All ranks, once there is a process group: from here on they go together."""
        if self._broadcast is not None or not dist.is_initialized():
            return
        self._broadcast = Broadcast()
        if self._agent is not None:
            place = {"site": self.site_name, "job": self.job_id}
            self._broadcast.give({**place, "task": _message(self._first)})
            self._first = None
        else:
            hello = self._broadcast.get()
            self.site_name, self.job_id = hello["site"], hello["job"]
            self._first = _task(hello["task"])

    def get_task(self, timeout: float | None = None) -> Task | None:
        self.meet()
        if self._agent is None:
            return self._take_first() or _task(self._hear()["task"])
        if self._broadcast is None:
            self._first = self._agent.get_task(timeout)
            return self._first
        try:
            task = self._agent.get_task(timeout)
        except Exception as error:
            self._tell_error(error)
            raise
        self._broadcast.give({"task": _message(task)})
        return task

    def submit_result(self, result: FLModel) -> bool:
        """Rank 0's result goes; every rank gets the answer. The ranks hold the same model then."""
        self.meet()
        if self._agent is None:
            return bool(self._hear()["accepted"])
        try:
            accepted = self._agent.submit_result(result)
        except Exception as error:
            self._tell_error(error)
            raise
        self._first = None
        if self._broadcast is not None:
            self._broadcast.give({"accepted": accepted})
        return accepted

    def log(self, record: DXO) -> bool:
        """Of rank 0; what the others log is dropped, so that a metric is told once."""
        return self._agent is not None and self._agent.log(record)

    def stop(self) -> None:
        if self._agent is not None:
            self._agent.stop()

    def _take_first(self) -> Task | None:
        first, self._first = self._first, None
        return first

    def _hear(self) -> dict[str, Any]:
        if self._broadcast is None:
            raise ApiCallError(
                "this process is not rank 0, and there is no process group yet through which it "
                "could hear from it: call torch.distributed.init_process_group() before"
            )
        heard: dict[str, Any] = self._broadcast.get()
        if "error" in heard:
            _raise_as_rank_0(heard["error"], heard["text"])
        return heard

    def _tell_error(self, error: Exception) -> None:
        if self._broadcast is not None:
            self._broadcast.give({"error": type(error).__name__, "text": str(error)})


def group_talker(config_file: str | None) -> GroupTalker:
    """This process's, which joins if it is rank 0; JoinError where nothing says which job."""
    rank = process_rank()
    if rank == 0:
        return GroupTalker(talker_for("0", config_file))
    stand_by(config_file, str(rank))
    return GroupTalker(None)


def _message(task: Task | None) -> object:
    if task is None:
        return None
    return {
        "name": task.task_name,
        "id": str(task.task_id),
        "model": FLModelUtils.to_dxo(task.data),
    }


def _task(message: Any) -> Task | None:
    """Without its headers: what they ask of the result is rank 0's business."""
    if message is None:
        return None
    return Task(message["name"], message["id"], FLModelUtils.from_dxo(message["model"]))


def _raise_as_rank_0(kind: str, text: str) -> NoReturn:
    if kind in _SAME_ERRORS:
        raise _SAME_ERRORS[kind](text)
    raise ApiCallError(f"rank 0 failed: {kind}: {text}")
