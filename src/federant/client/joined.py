"""The agent by which this process takes part, for whoever is not handed one: metrics writers, say.

Made elsewhere: join() and its kin remember here what they have made.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from federant.client.errors import CallStateError

if TYPE_CHECKING:
    from federant.client.flare_agent import FlareAgent

_latest: tuple[int, FlareAgent] | None = None


def remember(agent: FlareAgent) -> None:
    """From now on this is the agent of this process."""
    global _latest  # noqa: PLW0603 - a process takes part once
    _latest = os.getpid(), agent


def joined_agent(asker: str) -> FlareAgent:
    """The newest agent with which this very process, no parent of it, has joined a federation.

    CallStateError, in the name of ``asker``, if there is none.
    """
    if _latest is None or _latest[0] != os.getpid():
        raise CallStateError(
            f"{asker}: this process has not joined a federation; call federant.client.init() or "
            f"federant.join() before, or hand an agent over: {asker}(agent)"
        )
    return _latest[1]
