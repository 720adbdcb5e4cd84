"""The question for the next model, which Lightning's other processes cannot ask at first."""

from __future__ import annotations

from federant.client import api
from federant.client.api_context import APIContext
from federant.client.torch.group_talker import GroupTalker


def is_running(ctx: APIContext | None = None) -> bool:
    """Waits for the next model: True once it is there, False once the job has ended.

    In a process that Lightning has started it is True at once until the process has met the others:
    it was started because there is a model.
    """
    context = api.get_context(ctx)
    talker = context.talker
    if isinstance(talker, GroupTalker) and not talker.can_ask:
        return True
    return api.is_running(context)
