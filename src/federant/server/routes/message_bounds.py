"""How large a message to the server may be, checked while it is read; blobs are no messages."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from federant.link.messages import MAX_MESSAGE_BYTES


class BoundedMessages:
    """Refuses a request whose body is longer than a message may be, however long it is said to be.

    No more than the limit is ever held in memory.  A PUT passes: it is a blob's, which goes to the
    disk as it comes.
    """

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] != "PUT":
            receive = self._bounded(scope, receive)
        await self._app(scope, receive, send)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        announced = int(Headers(scope=scope).get("content-length", "0"))
        size = 0

        async def bounded() -> Message:
            nonlocal size
            self._require(announced)
            message = await receive()
            size += len(message.get("body", b""))
            self._require(size)
            return message

        return bounded

    def _require(self, size: int) -> None:
        if size > self._max_bytes:
            # Of the one kind that reading a body lets through; it is answered as ``too_large``.
            raise HTTPException(
                413,
                f"the message has {size} bytes or more, and one may have {self._max_bytes}; "
                "send less at once",
            )
