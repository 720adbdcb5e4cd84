"""federant: any training process joins a federation through an agent of a few lines.

The trainer's side is imported here. What needs the extras (a site, a server, the command line) is
imported when it is used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from federant.client import (
    RC,
    AgentAbortException,
    AgentClosed,
    AgentEndException,
    AgentPeerGoneException,
    CallStateError,
    FlareAgent,
    FlareAgentException,
    JoinError,
    Task,
)
from federant.client.join import join
from federant.exchange import DXO, DataKind, FLModel, MetaKey, ParamsType, Shareable

if TYPE_CHECKING:
    from federant.link.operator import Federation

__version__ = "0.1.0"

__all__ = [
    "DXO",
    "RC",
    "AgentAbortException",
    "AgentClosed",
    "AgentEndException",
    "AgentPeerGoneException",
    "CallStateError",
    "DataKind",
    "FLModel",
    "FlareAgent",
    "FlareAgentException",
    "JoinError",
    "MetaKey",
    "ParamsType",
    "Shareable",
    "Task",
    "connect",
    "join",
]


def connect(url: str | None = None, *, kit: str | os.PathLike[str] | None = None) -> Federation:
    """The federation whose server is at `url`, as its operator sees it: submit, watch, stop jobs.

    `kit` is the folder of an operator's startup kit, without which there is no TLS; it says where
    the server is, if `url` does not.

    Needs the packages of `federant[site]` or `federant[server]`: ModuleNotFoundError that says so
    without them. LinkConfigError, a ValueError, for an address or a kit that cannot be used.
    Nothing is sent yet. What the calls raise is in `federant.link`: see docs/jobs.md.
    """
    try:
        from federant.link import operator
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "federant":
            raise
        raise ModuleNotFoundError(
            f"federant.connect needs {error.name}, which is not installed: "
            "pip install 'federant[site]'",
            name=error.name,
        ) from error
    return operator.connect(url, kit=kit)
