"""A line in the log for each call that the server answers; knows nothing of what it means."""

from __future__ import annotations

import logging
import time
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from federant.link.messages import SITE_HEADER
from federant.server.door.peers import PEER

_log = logging.getLogger(__name__)

_OPERATOR: Final = "(operator)"


class CallLog:
    """Round an application: who called what, and with which status, if anybody wants to know."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _log.isEnabledFor(logging.DEBUG):
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        peer = scope["state"].get(PEER)
        claimed = Headers(scope=scope).get(SITE_HEADER, _OPERATOR)[:64]
        who = peer.identity.title if peer and peer.identity else claimed

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Neither query nor body: a line is enough, and they are nobody else's business.
                _log.debug(
                    "answered who=%r call=%s %r status=%d seconds=%.3f",
                    who, scope["method"], scope["path"], message["status"],
                    time.monotonic() - began,
                )  # fmt: skip
            await send(message)

        # A call that raises has no answer yet: it is logged by who gives it one.
        await self._app(scope, receive, note)
