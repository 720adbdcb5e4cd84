"""The client API: functions for a training script that is not built round an agent.

Each works on the context that init() made, or on one given as ``ctx``. Before init() every one of
them raises ApiCallError, which is a RuntimeError.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from federant.client.api_context import APIContext
from federant.client.errors import ApiCallError
from federant.client.talker import own_rank
from federant.exchange import AnalyticsDataType, FLModel

__all__ = [
    "clear",
    "get_config",
    "get_context",
    "get_job_id",
    "get_site_name",
    "get_task_name",
    "init",
    "is_evaluate",
    "is_running",
    "is_submit_model",
    "is_train",
    "log",
    "receive",
    "send",
    "shutdown",
    "system_info",
]

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_contexts: dict[tuple[str, str | None], APIContext] = {}
_default: APIContext | None = None


def init(rank: str | int | None = None, config_file: str | None = None) -> APIContext:
    """Joins the federation; call it once, before every other function.

    ``rank`` is this process's number where a script has many (by default the variable RANK, as
    torchrun sets it, else 0); only rank 0 talks. ``config_file`` says where to connect, as that of
    ``federant.join``. Called again with the same arguments it gives the same context, unless that
    was shut down.

    JoinError where nothing says which job to join; ValueError for a rank that is none.
    """
    global _default  # noqa: PLW0603  the functions of a module have one context by default
    key = own_rank(rank), config_file
    with _lock:
        context = _contexts.get(key)
        if context is not None and not context.api.closed:
            logger.warning("init() was called before with the same arguments; it has no effect now")
            return context
        context = _contexts[key] = _default = APIContext(*key)
        return context


def use(context: APIContext) -> APIContext:
    """From now on the functions work on ``context`` where they are given none; returns it."""
    global _default  # noqa: PLW0603  the functions of a module have one context by default
    with _lock:
        _default = context
    return context


def get_context(ctx: APIContext | None = None) -> APIContext:
    """``ctx``, else the context that init() made; ApiCallError before init()."""
    context = ctx or _default
    if context is None:
        raise ApiCallError(
            "this process has not joined the federation: call init() once, before the other "
            "functions of federant.client"
        )
    return context


def receive(timeout: float | None = None, ctx: APIContext | None = None) -> FLModel | None:
    """The model to work on; blocks until it is there, and gives None after ``timeout`` seconds.

    Until a result is sent it gives the same model again. Its arrays are the script's own to write
    to. AgentClosed once the job has ended; AgentAbortException, AgentPeerGoneException, which are
    also that, if it was aborted or the client job is out of reach.
    """
    return get_context(ctx).api.receive(timeout)


def send(model: FLModel, clear_cache: bool = True, ctx: APIContext | None = None) -> bool:
    """Sends the result for the model that was received, and waits until the client job has it.

    True: accepted; it survives the end of this process, which may exit at once. False: not
    accepted, because the task was cancelled or the job has ended; the log says why.

    With ``clear_cache`` the received model, and one that was accepted, lose their params, so that
    no memory is held while the next is waited for. Without, receive() goes on giving the old one
    until clear().

    Where the task wants a difference, a model with FULL params is sent as its difference from the
    one received. It is computed in the memory of that one, unless ``clear_cache`` is False: arrays
    that the script has kept of it hold the difference afterwards.

    Raises:
        TypeError: ``model`` is no FLModel, or cannot travel; the result is still due.
        ApiCallError: nothing was received, its result was sent already, or ``model`` has neither
            params nor metrics.
        DifferenceError: there is no difference; the text says why.
    """
    return get_context(ctx).api.send(model, clear_cache)


def is_running(ctx: APIContext | None = None) -> bool:
    """Waits for the next model: True once it is there, False once the job has ended."""
    return get_context(ctx).api.is_running()


def is_train(ctx: APIContext | None = None) -> bool:
    """Whether the model that is held is to be trained (task ``train``)."""
    return get_context(ctx).api.is_train()


def is_evaluate(ctx: APIContext | None = None) -> bool:
    """Whether the model that is held is to be evaluated (task ``validate`` or ``evaluate``)."""
    return get_context(ctx).api.is_evaluate()


def is_submit_model(ctx: APIContext | None = None) -> bool:
    """Whether the site's own model is asked for (task ``submit_model``)."""
    return get_context(ctx).api.is_submit_model()


def get_task_name(ctx: APIContext | None = None) -> str:
    """The name of the task whose model is held; waits for one where none is."""
    return get_context(ctx).api.get_task_name()


def system_info(ctx: APIContext | None = None) -> dict[str, str]:
    """``site_name`` and ``job_id``, there from init() on."""
    return get_context(ctx).api.system_info()


def get_site_name(ctx: APIContext | None = None) -> str:
    """The name of this site."""
    return system_info(ctx)["site_name"]


def get_job_id(ctx: APIContext | None = None) -> str:
    """The id of the job."""
    return system_info(ctx)["job_id"]


def get_config(ctx: APIContext | None = None) -> dict[str, Any]:
    """What the functions go by: ``system_info()``, and ``TASK_EXCHANGE`` with the tasks' names."""
    return get_context(ctx).api.get_config()


def log(
    key: str,
    value: Any,
    data_type: AnalyticsDataType,
    ctx: APIContext | None = None,
    **kwargs: Any,
) -> bool:
    """Logs a value under a key, with ``global_step=...`` say; returns at once.

    False if it was not taken, because too many wait or the job has ended; it is counted. TypeError
    or ValueError for a value that is not of its type.
    """
    return get_context(ctx).api.log(key, value, data_type, **kwargs)


def clear(ctx: APIContext | None = None) -> None:
    """Lets go of the model that is held. A result that is due for it must still be sent."""
    get_context(ctx).api.clear()


def shutdown(ctx: APIContext | None = None) -> None:
    """Leaves the federation and wakes whoever waits in another call; twice is fine."""
    get_context(ctx).api.shutdown()
