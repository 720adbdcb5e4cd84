"""FaultProxy: a line between two TCP ports of this machine that a test makes slow, cuts or wedges.

Knows nothing of what passes; TLS goes through it as anything else does.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Any, Final, TypeVar

_T = TypeVar("_T")

_BLOCK_BYTES: Final = 64 * 1024
_BLOCKS_ON_THE_WAY: Final = 8
_SLICES_A_SECOND: Final = 50
"""A line with a rate takes blocks so small that about this many of them pass in a second."""
_START_SECONDS: Final = 60.0
_FINISH_SECONDS: Final = 30.0


class Way(Enum):
    """In which direction bytes go."""

    UP = "up"
    """From the side that dials to the one that is dialled."""
    DOWN = "down"


class FaultProxy:
    """Listens on a free loopback port and passes everything on to ``target``, with faults.

    Every fault can be switched on and off while bytes flow, from any thread; without one it is
    only a proxy.  What was passed is counted each way, so that a test can say how much was sent
    twice.  A context manager: the port is open within the block.

        with FaultProxy("127.0.0.1", port) as proxy:
            proxy.cut_after(1_000_000)
            ...
            assert proxy.passed(Way.UP) < 1_100_000
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: Final[int] = self._listening.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._line = _Line()
        self._lines: dict[asyncio.Task[None], _Passage] = {}
        self._accepted = 0
        self._refusing = False
        self._holding = 0
        self._held: deque[asyncio.Event] = deque()
        self._changed = threading.Condition()
        self._ready = threading.Event()

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._ready.wait(_START_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    # ---- what it did ----------------------------------------------------------------------------

    @property
    def accepted(self) -> int:
        """How many connections were made to it so far."""
        return self._accepted

    def passed(self, way: Way) -> int:
        """How many bytes it has passed on that way, over all connections."""
        return self._line.ways[way].passed

    def wait_until(self, condition: Callable[[FaultProxy], bool], seconds: float) -> bool:
        """Wait until a condition on what it did holds; False if the seconds were not enough."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), seconds)

    # ---- faults ---------------------------------------------------------------------------------

    def delay(self, seconds: float) -> None:
        """Every byte arrives so much later, each way; 0 = at once."""
        self._line.delay = seconds

    def rate(self, bytes_a_second: float | None) -> None:
        """All connections together get so much through, each way; None = as much as there is."""
        self._line.rate = bytes_a_second

    def cut_after(self, count: int, way: Way = Way.UP) -> None:
        """Pass ``count`` more bytes that way, and cut the connection that brought the last one.

        The side that they go to gets all of them, and then the connection's end; the other side's
        connection is reset.  Called again before it is cut, the next cut counts from this one.
        """
        self._call(lambda: self._line.ways[way].cuts.append(count))

    def stall(self) -> None:
        """Half-open: connections are taken and kept, and nothing passes any more either way."""
        self._call(self._line.flowing.clear)

    def refuse(self) -> None:
        """Reset every connection that is made from now on; those that there are stay."""
        self._refusing = True

    def hold(self, times: int = 1) -> None:
        """Of the next connections that are made nothing passes until ``release``: later ones
        overtake them."""
        self._holding += times

    def release(self) -> None:
        """Let go what was held, in the order in which it came, and hold no more."""
        self._holding = 0
        self._call(self._let_go)

    def resume(self) -> None:
        """End what ``stall``, ``refuse`` and ``hold`` began; nothing that waited is lost."""
        self._refusing = False
        self._call(self._line.flowing.set)
        self.release()

    def reset(self) -> int:
        """Cut all connections that there are, at once and both ways; how many there were."""
        return self._call(self._reset)

    def retarget(self, host: str, port: int) -> None:
        """Connections made from now on go there: the server has moved."""
        self._target = (host, port)

    # ---- in its own thread ----------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        accepting = self._loop.create_task(self._accept())
        self._loop.call_soon(self._ready.set)
        try:
            self._loop.run_forever()
        finally:
            tasks = [accepting, *self._lines]
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._listening.close()
            self._loop.close()

    def _call(self, act: Callable[[], _T]) -> _T:
        """Do it in the loop's thread, and wait until it is done."""

        async def done() -> _T:
            return act()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(_START_SECONDS)

    async def _accept(self) -> None:
        self._listening.setblocking(False)
        while True:
            near, _ = await self._loop.sock_accept(self._listening)
            if self._refusing:
                _cut(near)
                self._note_accepted()
                continue
            held = None
            if self._holding:
                self._holding -= 1
                held = asyncio.Event()
                self._held.append(held)
            passage = _Passage(near, self._target, self._line, held, self._note)
            task = self._loop.create_task(passage.run())
            self._lines[task] = passage
            task.add_done_callback(self._lines.pop)
            self._note_accepted()

    def _note_accepted(self) -> None:
        self._accepted += 1
        self._note()

    def _note(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _let_go(self) -> None:
        while self._held:
            self._held.popleft().set()

    def _reset(self) -> int:
        for task in (lines := list(self._lines)):
            task.cancel()
        return len(lines)


class _WayState:
    """What all connections of a proxy have passed one way, and shall pass until the next cut."""

    def __init__(self) -> None:
        self.passed = 0
        self.cuts: deque[int] = deque()
        self.free_at = 0.0
        """When the line has room for the next block, if it has a rate."""


class _Line:
    """The faults in force."""

    def __init__(self) -> None:
        self.ways = {way: _WayState() for way in Way}
        self.delay = 0.0
        self.rate: float | None = None
        self.flowing = asyncio.Event()
        self.flowing.set()

    def block_bytes(self) -> int:
        if self.rate is None:
            return _BLOCK_BYTES
        return max(1, min(_BLOCK_BYTES, int(self.rate / _SLICES_A_SECOND)))

    async def wait_for_room(self, way: _WayState, count: int) -> None:
        if self.rate is None:
            return
        now = time.monotonic()
        way.free_at = max(way.free_at, now) + count / self.rate
        await asyncio.sleep(way.free_at - now)


class _CutError(Exception):
    """The connection has passed what it was to pass; ``way`` is the one whose end has all of it."""

    def __init__(self, way: Way) -> None:
        super().__init__(way)
        self.way = way


class _Passage:
    """One connection and the one that was made for it."""

    def __init__(
        self,
        near: socket.socket,
        target: tuple[str, int],
        line: _Line,
        held: asyncio.Event | None,
        note: Callable[[], None],
    ) -> None:
        near.setblocking(False)
        self._near = near
        self._far = socket.socket(
            socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_STREAM
        )
        self._far.setblocking(False)
        self._target = target
        self._line = line
        self._held = held
        self._note = note

    async def run(self) -> None:
        """Pass on until both sides are done, one is gone, it is to be cut, or it is cancelled."""
        try:
            far = await self._dial()
            await _together(
                self._one_way(Way.UP, self._near, far), self._one_way(Way.DOWN, far, self._near)
            )
            self._near.close()
            far.close()
        except _CutError as cut:
            ends = (self._near, self._far)
            source, sink = ends if cut.way is Way.UP else reversed(ends)
            _cut(source)
            await _finish(sink)
        except OSError:
            pass  # one side is gone: the other is told below, as the network would do it
        finally:
            _cut(self._near)
            _cut(self._far)

    async def _dial(self) -> socket.socket:
        if self._held is not None:
            await self._held.wait()
        await self._line.flowing.wait()
        await asyncio.get_running_loop().sock_connect(self._far, self._target)
        for end in (self._near, self._far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._far

    async def _one_way(self, way: Way, source: socket.socket, sink: socket.socket) -> None:
        blocks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_BLOCKS_ON_THE_WAY)
        await _together(self._take(source, blocks), self._give(way, sink, blocks))

    async def _take(
        self, source: socket.socket, blocks: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        loop = asyncio.get_running_loop()
        block = b"-"
        while block:
            await self._line.flowing.wait()
            block = await loop.sock_recv(source, self._line.block_bytes())
            await blocks.put((time.monotonic() + self._line.delay, block))

    async def _give(
        self, way: Way, sink: socket.socket, blocks: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        loop = asyncio.get_running_loop()
        state = self._line.ways[way]
        while True:
            due, block = await blocks.get()
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            await self._line.wait_for_room(state, len(block))
            await self._line.flowing.wait()
            if not block:
                sink.shutdown(socket.SHUT_WR)
                return
            cut = bool(state.cuts) and state.cuts[0] <= len(block)
            if cut:
                block = block[: state.cuts.popleft()]
            elif state.cuts:
                state.cuts[0] -= len(block)
            # Before it is sent: who has got a byte may ask at once how many there were.
            state.passed += len(block)
            await loop.sock_sendall(sink, block)
            self._note()
            if cut:
                raise _CutError(way)


def _cut(end: socket.socket) -> None:
    """Close with a reset: what was on the way is lost.  Does nothing to one that is closed."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


async def _finish(end: socket.socket) -> None:
    """Close so that the other side gets all that was sent: not before it has closed its end."""
    loop = asyncio.get_running_loop()
    with suppress(OSError, TimeoutError):
        end.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_FINISH_SECONDS):
            while await loop.sock_recv(end, _BLOCK_BYTES):
                pass
    end.close()


async def _together(*acts: Coroutine[Any, Any, None]) -> None:
    """Do all of them; an error of one, or being cancelled, ends the others."""
    tasks = [asyncio.ensure_future(act) for act in acts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
