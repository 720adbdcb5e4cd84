"""An HTTP proxy that knows CONNECT only, with the habits of those that stand in hospitals."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Self

_BLOCK_BYTES: Final = 1 << 16
_LOOPBACK: Final = "127.0.0.1"


class ConnectProxy:
    """Listens on a free port of this machine; a context manager.

    Every host is this machine to it, whatever its name: so a name that nobody can resolve is
    reached through the proxy and in no other way.  With ``user`` it wants that name and
    ``password``.  With ``refuse`` it answers every CONNECT with that status.  A tunnel through
    which nothing went for ``idle_seconds`` is closed.  What has been asked of it is in ``asked``.
    """

    def __init__(
        self,
        *,
        user: str | None = None,
        password: str = "",
        refuse: int | None = None,
        idle_seconds: float | None = None,
    ) -> None:
        text = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._wanted = None if user is None else f"Basic {text}"
        self._refuse = refuse
        self._idle_seconds = idle_seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="connect-proxy")
        self._server: asyncio.Server | None = None
        self._port: int | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.asked: list[str] = []
        """``host:port`` of each CONNECT, in order."""
        self.opened = 0
        """How many tunnels there have been."""
        self.tunnels = 0
        """How many are open now."""
        self.carried_bytes = 0

    @property
    def url(self) -> str:
        if self._port is None:
            raise RuntimeError("the proxy has not been started: use it as a context manager")
        return f"http://{_LOOPBACK}:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Close all tunnels now; new ones are opened."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._accept, _LOOPBACK, 0)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()

    async def _cut(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
                await self._tunnel(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {
            name.casefold(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        self.asked.append(target)
        status = self._verdict(method, headers)
        if status != 200:
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        port = int(target.rpartition(":")[2])
        try:
            far_reader, far_writer = await asyncio.open_connection(_LOOPBACK, port)
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        self.opened += 1
        self.tunnels += 1
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await self._carry((reader, far_writer), (far_reader, writer))
        finally:
            far_writer.close()
            self.tunnels -= 1

    def _verdict(self, method: str, headers: Mapping[str, str]) -> int:
        if method != "CONNECT":
            return 405
        if self._wanted is not None and headers.get("proxy-authorization") != self._wanted:
            return 407
        return self._refuse or 200

    async def _carry(self, *ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        """Until one side closes, or nothing came from either for the time that is allowed."""
        loop = asyncio.get_running_loop()
        moved = loop.time()

        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal moved
            while block := await reader.read(_BLOCK_BYTES):
                moved = loop.time()
                self.carried_bytes += len(block)
                writer.write(block)
                await writer.drain()

        tasks = {asyncio.create_task(one(*way)) for way in ways}
        try:
            while True:
                left = None
                if self._idle_seconds is not None:
                    left = max(0.0, moved + self._idle_seconds - loop.time())
                done, _ = await asyncio.wait(
                    tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                idle = self._idle_seconds is not None and (
                    loop.time() - moved >= self._idle_seconds
                )
                if done or idle:
                    return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
