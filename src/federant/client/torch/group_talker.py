"""In the place of an agent in each process of a group: rank 0 talks, and the others get the same.

Every call but ``log`` and ``stop`` is made by all ranks, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn

import torch.distributed as dist

from federant.client.errors import (
    AgentAbortException,
    AgentClosed,
    AgentEndException,
    AgentPeerGoneException,
    ApiCallError,
    CallStateError,
    DifferenceError,
    FlareAgentException,
    JoinError,
)
from federant.client.failures import text_that_travels
from federant.client.join import stand_by
from federant.client.ranks import process_rank
from federant.client.talker import Talker, Together, talker_for
from federant.client.task import Task
from federant.client.torch.broadcast import Broadcast
from federant.exchange import DXO, FLModel, FLModelUtils
from federant.spool import SpoolError

_SAME_ERRORS: Final[dict[str, type[Exception]]] = {
    kind.__name__: kind
    for kind in (
        AgentAbortException,
        AgentClosed,
        AgentEndException,
        AgentPeerGoneException,
        CallStateError,
        ApiCallError,
        DifferenceError,
        JoinError,
        FlareAgentException,
        SpoolError,
        TypeError,
        ValueError,
        OSError,
        RuntimeError,
    )
}
"""What the others raise as rank 0 did, so that a script catches the same in every rank.

Of a subclass its nearest base among these; anything else becomes an ApiCallError there.
"""


class GroupTalker(Together):
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

    def meet(self, broadcast: Broadcast | None = None) -> None:
        """All ranks, once there is a process group: from here on they go together.

        By ``broadcast``, if they have one already.
        """
        if self._broadcast is not None or not dist.is_initialized():
            return
        self._broadcast = broadcast or Broadcast()
        if self._agent is not None:
            self.job_id = self._agent.job_id
            place = {"site": self.site_name, "job": self.job_id}
            self._broadcast.give({**place, "task": _message(self._first)})
            self._first = None
        else:
            hello = self._hear()
            self.site_name, self.job_id = hello["site"], hello["job"]
            self._first = _task(hello["task"])

    def get_task(self, timeout: float | None = None) -> Task | None:
        self.meet()
        if self._agent is None:
            return self._take_first() or self._heard_task()
        if self._broadcast is None:
            self._first = self._agent.get_task(timeout)
            self.job_id = self._agent.job_id
            return self._first
        with _errors_told_through(self._broadcast):
            task = self._agent.get_task(timeout)
            message = _message(task)
        self.job_id = self._agent.job_id  # a first task may have told it
        self._broadcast.give({"task": message, "job": self.job_id})
        return task

    def same(self, act: Callable[[], bool]) -> bool:
        self.meet()
        if self._agent is None:
            return bool(self._hear()["outcome"])
        if self._broadcast is None:
            return act()
        with _errors_told_through(self._broadcast):
            outcome = act()
        self._broadcast.give({"outcome": outcome})
        return outcome

    def submit_result(self, result: FLModel) -> bool:
        """Of rank 0 alone, within ``same``."""
        if self._agent is None:
            raise ApiCallError("this process is not rank 0: submit a result within same()")
        accepted = self._agent.submit_result(result)
        self._first = None
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

    def _heard_task(self) -> Task | None:
        heard = self._hear()
        self.job_id = heard["job"]
        return _task(heard["task"])

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


def group_talker(config_file: str | None) -> GroupTalker:
    """This process's, which joins if it is rank 0; JoinError where nothing says which job."""
    rank = process_rank()
    if rank == 0:
        return GroupTalker(talker_for("0", config_file))
    stand_by(config_file, str(rank))
    return GroupTalker(None)


def joined_group(config_file: str | None) -> GroupTalker:
    """This process's, of a group that is there: what keeps rank 0 from joining all raise.

    The others need not find what says which job it is: it may lie on rank 0's machine only.
    """
    broadcast = Broadcast()
    if broadcast.rank == 0:
        with _errors_told_through(broadcast):
            talker = GroupTalker(talker_for("0", config_file))
    else:
        talker = GroupTalker(None)
        with suppress(JoinError):  # of which rank 0 tells
            stand_by(config_file, str(broadcast.rank))
    talker.meet(broadcast)
    return talker


@contextmanager
def _errors_told_through(broadcast: Broadcast) -> Iterator[None]:
    """What is raised within is told to the other ranks too, who wait for what comes of it."""
    try:
        yield
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        broadcast.give({"error": kinds, "text": text_that_travels(str(error))})
        raise


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


def _raise_as_rank_0(kinds: list[str], text: str) -> NoReturn:
    """``kinds`` are the names of the error's class and of its bases, the nearest first."""
    kind = next((_SAME_ERRORS[name] for name in kinds if name in _SAME_ERRORS), ApiCallError)
    if kinds[0] != kind.__name__:
        text = f"rank 0 failed: {kinds[0]}: {text}"
    raise kind(text)
