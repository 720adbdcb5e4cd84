"""Connections whose other end takes nothing any more, and says nothing: nobody waits for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from federant.cellnet import own_address, words
from federant.cellnet.dial import MESSAGE_BYTES, dialled
from federant.cellnet.errors import CellError
from federant.link.tls import server_context
from federant.pipe.cell.address import PATH
from federant.provision import FederationKits

SITE = "site-1"
AGENT = "gpu-7"
PATIENCE_SECONDS = 60.0

T = TypeVar("T")


def run(act: Callable[[], Awaitable[T]]) -> T:
    async def in_time() -> T:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await act()

    return asyncio.run(in_time())


def as_agent(kits: FederationKits, relay: str) -> Any:
    return dialled(relay, str(kits.agents[f"{SITE}.{AGENT}"].folder), SITE)


def as_job(kits: FederationKits, relay: str) -> Any:
    return dialled(relay, str(kits.sites[SITE].folder), SITE)


async def join(connection: Any, end: str, instance: str) -> None:
    fqcn = f"{SITE}.{AGENT}.{end}"
    said = words.Join(fqcn, "task", instance, "node-3", 1, 1.0, "")
    await connection.send(words.to_text(said))
    assert isinstance(words.from_text(await connection.recv()), words.Joined)


async def fill(connection: Any, is_stuck: asyncio.Event) -> None:
    """Send until nothing more is taken, and then wait for ever."""
    while True:
        sending = asyncio.ensure_future(connection.send(bytes(MESSAGE_BYTES)))
        # Longer than the loop needs for what the other side takes at once.
        done, _ = await asyncio.wait([sending], timeout=0.5)
        if not done:
            is_stuck.set()
        await sending


@pytest.fixture
def relay(tls_relay: str) -> str:
    return tls_relay.replace("https:", "wss:") + PATH


def test_a_relay_that_takes_nothing_any_more_is_left_at_once(kits: FederationKits) -> None:
    async def be_wedged(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(words.to_text(words.Joined(SITE)))
        connection.transport.pause_reading()  # type: ignore[attr-defined]
        await connection.wait_closed()

    async def leave() -> None:
        server = await serve(
            *(be_wedged, "127.0.0.1", 0),
            ssl=server_context(kits.sites[SITE]),
            subprotocols=[Subprotocol(words.SUBPROTOCOL)],
            ping_interval=None,
            close_timeout=0.1,
        )
        port = next(iter(server.sockets)).getsockname()[1]
        with suppress(CellError):
            async with as_agent(kits, f"wss://127.0.0.1:{port}{PATH}") as relay:
                await join(relay, "agent", "one")
                is_stuck = asyncio.Event()
                sending = asyncio.ensure_future(fill(relay, is_stuck))
                await is_stuck.wait()
                sending.cancel()
                # Its ping would soon wait too, behind what was to be sent.
                relay.keepalive_task.cancel()
                raise CellError("to be left")
        server.close()
        await server.wait_closed()

    run(leave)


def test_a_cell_that_comes_again_need_not_wait_for_its_old_connection(
    kits: FederationKits, relay: str
) -> None:
    async def come_again() -> None:
        async with as_agent(kits, relay) as old, as_job(kits, relay) as job:
            await join(old, "agent", "one")
            await join(job, "job", "two")
            old.transport.pause_reading()
            is_stuck = asyncio.Event()
            sending = asyncio.ensure_future(fill(job, is_stuck))
            await is_stuck.wait()
            async with as_agent(kits, relay) as new:
                await join(new, "agent", "one")
                assert isinstance(words.from_text(await new.recv()), words.Met)
            sending.cancel()
            old.transport.abort()

    run(come_again)


def test_who_acknowledges_nothing_of_what_is_sent_is_given_up(
    kits: FederationKits, relay: str
) -> None:
    async def look() -> int:
        async with as_agent(kits, relay) as connection:
            own = connection.transport.get_extra_info("socket")
            return int(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    assert 0 < run(look) <= 60_000


def test_an_address_that_the_machine_has_not_is_lost_at_once() -> None:
    run(lambda: own_address.lost(("192.0.2.1", 0)))  # one that nobody has


def test_an_address_that_the_machine_has_is_not_lost() -> None:
    async def wait() -> None:
        lost = asyncio.ensure_future(own_address.lost(("127.0.0.1", 0)))
        await asyncio.sleep(0)
        assert not lost.done()
        lost.cancel()

    run(wait)
