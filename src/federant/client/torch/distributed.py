"""Trainers of many processes (torchrun, accelerate): rank 0 talks, and every rank gets the same.

After ``init()`` of this module the functions of ``federant.client`` are called by all ranks alike,
and each gets what rank 0 received.
"""

from __future__ import annotations

import torch.distributed as dist

from federant.client import api
from federant.client.api_context import APIContext
from federant.client.errors import ApiCallError
from federant.client.ranks import process_count
from federant.client.torch.group_talker import joined_group

__all__ = ["init"]


def init(config_file: str | None = None) -> APIContext:
    """Joins the federation with all processes of the group; each calls it once.

    To be called after ``torch.distributed.init_process_group()``. From here on ``receive``,
    ``is_running`` and ``send`` of ``federant.client`` are for all ranks together: rank 0 talks to
    the client job, the others wait for it and get the same model, or the same error. A result is
    that of rank 0, and each rank is told whether it was accepted. Only rank 0's ``log`` counts.

    A trainer of one process needs no group, and is as after ``federant.client.init``.

    ApiCallError where there are many processes and no group yet; JoinError, in all of them, where
    nothing says which job rank 0 is to join, or it cannot.
    """
    if not dist.is_initialized():
        if process_count() > 1:
            raise ApiCallError(
                f"there are {process_count()} processes and no process group through which they "
                "could take part: call torch.distributed.init_process_group() before init()"
            )
        return api.init(config_file=config_file)
    talker = joined_group(config_file)
    return api.use(APIContext(dist.get_rank(), config_file, agent=talker))
