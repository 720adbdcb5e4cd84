"""The trainer's side: the agent that asks for tasks, hands back results and streams metrics.

The client API, functions for scripts that are not built round an agent, is here too: ``import
federant.client as flare``, then ``flare.init()``, ``flare.receive()``, ``flare.send()``.
"""

from federant.client.api import (
    clear,
    get_config,
    get_context,
    get_job_id,
    get_site_name,
    get_task_name,
    init,
    is_evaluate,
    is_running,
    is_submit_model,
    is_train,
    log,
    receive,
    send,
    shutdown,
    system_info,
)
from federant.client.api_context import APIContext
from federant.client.decorator import evaluate, train
from federant.client.errors import ApiCallError, DifferenceError, JoinError
from federant.client.flare_agent import (
    RC,
    AgentAbortException,
    AgentClosed,
    AgentEndException,
    AgentPeerGoneException,
    CallStateError,
    FlareAgent,
    FlareAgentException,
    Task,
)
from federant.client.flare_agent_with_cell_pipe import FlareAgentWithCellPipe
from federant.client.flare_agent_with_fl_model import FlareAgentWithFLModel
from federant.client.join import join
from federant.exchange import AnalyticsDataType, FLModel, ParamsType

__all__ = [
    "RC",
    "APIContext",
    "AgentAbortException",
    "AgentClosed",
    "AgentEndException",
    "AgentPeerGoneException",
    "AnalyticsDataType",
    "ApiCallError",
    "CallStateError",
    "DifferenceError",
    "FLModel",
    "FlareAgent",
    "FlareAgentException",
    "FlareAgentWithCellPipe",
    "FlareAgentWithFLModel",
    "JoinError",
    "ParamsType",
    "Task",
    "clear",
    "evaluate",
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
    "join",
    "log",
    "receive",
    "send",
    "shutdown",
    "system_info",
    "train",
]
