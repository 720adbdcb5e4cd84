"""Who talks for a training script: the agent of rank 0, or somebody in its place.

A script of many processes has one that talks, rank 0. What the others do is decided here, by what
they are given instead of an agent.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from federant.client.errors import ApiCallError, JoinError
from federant.client.flare_agent_with_fl_model import FlareAgentWithFLModel
from federant.client.join import join, stand_by
from federant.client.meeting_point import JOB_VARIABLE, SITE_VARIABLE
from federant.client.ranks import process_rank
from federant.client.task import Task
from federant.exchange import DXO, FLModel


class Talker(Protocol):
    """What the client API needs of an agent; FlareAgentWithFLModel is one.

    Each call means what FlareAgent says of it; a task's data is an FLModel.
    """

    site_name: str
    job_id: str

    def get_task(self, timeout: float | None = None) -> Task | None: ...
    def submit_result(self, result: FLModel) -> bool: ...
    def log(self, record: DXO) -> bool: ...
    def stop(self) -> None: ...


class Together(ABC):
    """A talker of one of many processes that go together: what befalls rank 0 befalls all."""

    @abstractmethod
    def same(self, act: Callable[[], bool]) -> bool:
        """Called by all ranks alike: what ``act`` returns or raises in rank 0, the only one to act.

        ``act`` may submit a result; in the others nothing is done.
        """


class Bystander:
    """In the place of an agent in a process that is not the one that talks: it refuses."""

    def __init__(self, rank: str, site_name: str = "", job_id: str = "") -> None:
        self.site_name = site_name
        self.job_id = job_id
        self._rank = rank

    def get_task(self, *_: object, **__: object) -> NoReturn:
        self._refuse("receiving")

    def submit_result(self, *_: object, **__: object) -> NoReturn:
        self._refuse("sending")

    def log(self, *_: object, **__: object) -> NoReturn:
        self._refuse("logging")

    def stop(self) -> None:
        """Nothing to stop."""

    def _refuse(self, what: str) -> NoReturn:
        raise ApiCallError(
            f"{what} in the process of rank {self._rank}: only rank 0 talks to the federation; "
            "call it where the rank is 0, or join with federant.client.torch.distributed.init(), "
            "after which every rank receives and sends together"
        )


def own_rank(rank: str | int | None) -> str:
    """The rank that was given, else what `ranks` finds; ValueError for one that is none."""
    if rank is None:
        return str(process_rank())
    if isinstance(rank, bool) or not isinstance(rank, str | int):
        raise ValueError(
            f"rank must be a str or an int, got {rank!r:.100} of type {type(rank).__name__}"
        )
    return str(rank)


def talker_for(rank: str, config_file: str | None) -> Talker:
    """Who talks for the process of that rank: rank 0 joins, as ``join`` says, with its errors."""
    if rank != "0":
        site, job = os.environ.get(SITE_VARIABLE, ""), os.environ.get(JOB_VARIABLE, "")
        with contextlib.suppress(JoinError):  # of which rank 0 tells
            point = stand_by(config_file, rank)
            site, job = point.site, point.job
        return Bystander(rank, site, job)
    found: Any = join(config_file, agent_class=FlareAgentWithFLModel)
    talker: Talker = found
    return talker
