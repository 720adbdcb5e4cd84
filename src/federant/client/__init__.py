"""The trainer's side: the agent that asks for tasks, hands back results and streams metrics."""

from federant.client.errors import JoinError
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
from federant.client.join import join

__all__ = [
    "RC",
    "AgentAbortException",
    "AgentClosed",
    "AgentEndException",
    "AgentPeerGoneException",
    "CallStateError",
    "FlareAgent",
    "FlareAgentException",
    "JoinError",
    "Task",
    "join",
]
