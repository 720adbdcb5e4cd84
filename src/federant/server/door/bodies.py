"""Large bodies of requests, decrypted into the place from which they are used.

The parser would hand them out in pieces of what one read brings, each of which wakes who waits.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import httptools
from starlette.requests import ClientDisconnect, Request
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

BLOCK_BYTES: Final = 1 << 20
_BLOCKS: Final = 3
"""At most: one is filled, one is used, one makes up for what is not equally quick."""

_TAKE: Final = "federant.take_body"


class Body:
    """What is left of a body.  For one event loop.

    Nothing more is read from the connection while all blocks are full.
    """

    def __init__(self, begun: int, left: int, flow: FlowControl) -> None:
        self.left = left
        """Bytes that have not come yet."""
        self._flow = flow
        self._unmade = _BLOCKS
        self._free: list[memoryview] = []
        self._full: deque[memoryview] = deque()
        self._block: memoryview | None = None
        self._count = 0
        # So that all but the first end where blocks of the whole do.
        self._size = BLOCK_BYTES - begun % BLOCK_BYTES
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._changed = asyncio.Event()
        self._gone = self._closed = False

    async def blocks(self, stalled_seconds: float) -> AsyncIterator[memoryview]:
        """All that comes; each block holds until the next is asked for.

        ClientDisconnect after what came before a cut; TimeoutError after what came before nothing
        did for that long.
        """
        problem: Exception | None = None
        while self._full or (self.left and problem is None):
            if not self._full:
                problem = await self._wait(stalled_seconds)
                if problem is not None:
                    self._turn()
                continue
            block = self._full.popleft()
            yield block
            self._free.append(memoryview(block.obj))
            self._read_on()
        if problem is not None:
            raise problem

    def close(self) -> None:
        """Whatever comes from now on is thrown away."""
        self._closed = True
        self._full.clear()
        self._unmade, self._free, self._block = 1, [], None
        self._read_on()

    def place(self) -> memoryview:
        """Where the next bytes go."""
        if self._block is None:
            self._block, self._count = self._free_block(), 0
        return self._block[self._count : min(self._size, self._count + self.left)]

    def came(self, count: int) -> None:
        """So many have been put there."""
        self.left -= count
        self._last = self._loop.time()
        if self._closed:
            return
        self._count += count
        if self._count == self._size or not self.left:
            self._turn()
            self._size = BLOCK_BYTES
            if self.left and not self._free and self._unmade <= 0:
                self._flow.pause_reading()

    def cut(self) -> None:
        """Nothing comes any more."""
        self._gone = True
        self._changed.set()

    def _read_on(self) -> None:
        if not self._gone:
            self._flow.resume_reading()

    def _free_block(self) -> memoryview:
        if self._free:
            return self._free.pop()
        self._unmade -= 1
        return memoryview(bytearray(BLOCK_BYTES))

    def _turn(self) -> None:
        """The block is to be used, though it may not be full."""
        if self._block is not None and self._count:
            self._full.append(self._block[: self._count])
            self._block = None
        self._changed.set()

    async def _wait(self, stalled_seconds: float) -> Exception | None:
        """Until there is a block, or what is wrong."""
        asked = self._loop.time()
        while not self._full:
            if self._gone:
                return ClientDisconnect()
            self._changed.clear()
            # The time in which nobody asked is not the sender's.
            due = max(asked, self._last) + stalled_seconds
            try:
                async with asyncio.timeout_at(due):
                    await self._changed.wait()
            except TimeoutError as error:
                if self._last <= asked or self._last + stalled_seconds <= self._loop.time():
                    return error
        return None


class BodyProtocol(HttpToolsProtocol):
    """HTTP of which the parser does not see a body that somebody takes.

    Only where ``asks_for_place`` is set: whoever has bytes for it asks for ``place`` first.
    """

    asks_for_place = False
    _parsed = 0
    _body: Body | None = None

    def place(self) -> memoryview | None:
        """Where the next bytes belong, to be told by ``placed``; None: to ``data_received``."""
        return None if self._body is None else self._body.place()

    def placed(self, count: int) -> None:
        """So many bytes have been put there."""
        if self._body is None:
            raise LookupError(f"{count} bytes were put where nothing was to be put")
        self._body.came(count)
        if not self._body.left:
            self._body = None
            # The one before waits for the body's end for ever.
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.on_message_complete()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._parsed = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.scope["state"][_TAKE] = functools.partial(self._take, self.cycle)

    def on_body(self, body: bytes) -> None:
        self._parsed += len(body)
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._body is not None:
            self._body.cut()
        super().connection_lost(exc)

    def _take(self, cycle: RequestResponseCycle) -> Body | None:
        if not self.asks_for_place or cycle is not self.cycle or cycle.body or cycle.disconnected:
            return None
        said = dict(self.headers)
        left = int(said.get(b"content-length", 0)) - self._parsed
        if left < BLOCK_BYTES or b"transfer-encoding" in said:
            return None
        self._body = Body(self._parsed, left, self.flow)
        self.flow.resume_reading()
        return self._body


def take_body(request: Request) -> Body | None:
    """What is left of a request's body after what was received of it; None: receive it as ever."""
    take = request.scope["state"].get(_TAKE)
    body: Body | None = take() if take else None
    return body
