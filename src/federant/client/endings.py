"""How the news that a channel has ended becomes the error that a trainer sees."""

from __future__ import annotations

from federant.client.errors import (
    AgentAbortException,
    AgentClosed,
    AgentEndException,
    AgentPeerGoneException,
)
from federant.pipe import Message, Topic


def ending(status: Message) -> AgentClosed:
    """The error for an ABORT, END or PEER_GONE."""
    data = status.data
    said = f": {data}" if data not in (None, "") else ""
    if status.topic == Topic.ABORT:
        return AgentAbortException(f"the client job aborted the work{said}")
    if status.topic == Topic.END:
        return AgentEndException(f"the job has ended{said}")
    clean = bool(data.get("clean"))
    text = data.get("text", "")
    manner = "said goodbye without ending the job" if clean else "is out of reach"
    return AgentPeerGoneException(f"the client job {manner}: {text}")
