"""Joining the federation where a framework makes the process group, or has made it."""

from __future__ import annotations

from federant.client import api
from federant.client.api_context import APIContext
from federant.client.errors import ApiCallError
from federant.client.ranks import process_rank
from federant.client.torch.group_talker import GroupTalker, group_talker


def init(config_file: str | None = None) -> APIContext:
    """Joins the federation, as ``federant.client.init``; ``patch`` does it where it was not done.

    In a script of many processes rank 0 joins, and the others hear from it once the framework has
    made their process group.
    """
    talker = group_talker(config_file)
    return api.use(APIContext(process_rank(), config_file, agent=talker))


def joined(processes: int) -> APIContext:
    """The context for a trainer of so many processes, made if there is none yet.

    ApiCallError if it was made for one process and holds a model already.
    """
    try:
        context = api.get_context()
    except ApiCallError:
        return init()
    if processes == 1 or isinstance(context.talker, GroupTalker):
        return context
    if context.api.held is not None:
        raise ApiCallError(
            f"the trainer has {processes} processes, and only this one has received a model: call "
            "patch() before is_running() and receive()"
        )
    talker = GroupTalker(context.talker if process_rank() == 0 else None)
    return api.use(APIContext(process_rank(), context.config_file, agent=talker))
