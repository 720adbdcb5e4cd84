"""Which of a trainer's processes this is, where it has many: the one that talks is rank 0.

Launchers (torchrun, accelerate, Lightning, srun, mpirun) say it in the environment, before a
framework is imported; nothing is imported here to find out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
_COUNTS = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_LOCAL = ("LOCAL_RANK", "NODE_RANK")


def process_rank(environment: Mapping[str, str] | None = None) -> int:
    """This process's rank; 0 where it is alone, or nothing says otherwise.

    torch's process group decides where it is initialised, else the environment. Where only a local
    rank or a node's is given, the number is 0 for the one that talks and above for the others.
    """
    if environment is None:
        if (group := _group()) is not None:
            return int(group.get_rank())
        environment = os.environ
    for name, count in zip(_RANKS, _COUNTS, strict=True):
        # What a batch system says of a single task is inherited by all that it starts.
        if name in environment and (name == "RANK" or _number(environment, count) > 1):
            return _number(environment, name)
    return next((rank for name in _LOCAL if (rank := _number(environment, name))), 0)


def process_count(environment: Mapping[str, str] | None = None) -> int:
    """How many processes train together, as far as is known; at least 1."""
    if environment is None:
        if (group := _group()) is not None:
            return int(group.get_world_size())
        environment = os.environ
    return next((count for name in _COUNTS if (count := _number(environment, name))), 1)


def _group() -> Any:
    """torch.distributed, if this process has initialised its process group."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else 0
