"""The end of a server that is asked to stop: what is under way may end, nothing else begins.

Those who wait at the server are woken elsewhere: they have their answer at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from federant.link.messages import ErrorCode

from .door.refusals import answer

_LIVE: Final = "/health/live"
"""What is answered to the end: the process lives, and is not to be killed."""


class Drain:
    """Whether the server is draining, and how much is still under way.  For one event loop."""

    def __init__(self) -> None:
        self.begun = False
        """Set by whoever stops the server, also from a signal's handler."""
        self.under_way = 0
        """Requests that came before and have not been answered to the end."""
        self._over = asyncio.Event()

    def enter(self) -> None:
        """A request has come."""
        self.under_way += 1

    def leave(self) -> None:
        """It has been answered to the end, or cut."""
        self.under_way -= 1
        if self.begun and not self.under_way:
            self._over.set()

    def give_up(self) -> None:
        """Whoever waits is to wait no longer."""
        self._over.set()

    async def wait(self, seconds: float) -> None:
        """Until nothing is under way, or ``give_up`` is called; ``seconds`` at most."""
        if self.under_way:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), seconds)


class DrainGate:
    """Round an application: once the server drains, what comes anew is told to come later.

    The connection is taken all the same: so a load balancer reads at ``/health/ready`` why it
    shall go elsewhere, and a site reads that it shall try again.
    """

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._drain.begun and scope["path"] != _LIVE:
            refusal = answer(
                ErrorCode.NOT_READY,
                "the server is draining: it ends what it has begun and takes nothing new; try "
                "again, it may be started anew",
                # A body that was not read must not be taken for the next request.
                headers={"connection": "close"},
            )
            await refusal(scope, receive, send)
            return
        self._drain.enter()
        try:
            await self._app(scope, receive, send)
        finally:
            self._drain.leave()
