"""The cell: a small process beside a pipe's end, which carries that pipe to another machine.

Started by CellPipe as `python -m federant.cellnet.cell`; its order comes on the standard input,
what it has to tell its owner goes to the standard output. It ends with its owner.
"""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from federant.cellnet import own_address, words
from federant.cellnet.dial import ANSWER_SECONDS, dialled
from federant.cellnet.errors import (
    CellError,
    CellProtocolError,
    CellRefused,
    NoRelayError,
    RevokedError,
    SealBrokenError,
)
from federant.cellnet.names import End, Fqcn
from federant.cellnet.order import Order
from federant.cellnet.owner_process import OwnerProcess
from federant.cellnet.owner_side import OwnerSide
from federant.cellnet.pieces import What, of_sweep
from federant.cellnet.tunnel import Lane, Moved, Packet, Tunnel
from federant.pipe import Mode
from federant.pipe.cell.address import root_of
from federant.pipe.local.place import Place

if TYPE_CHECKING:
    from federant.cellnet.revoked import RevokedFile
    from federant.cellnet.seal import Seals

_log = logging.getLogger("federant.cellnet.cell")

LINGER_SECONDS: Final = 5.0
"""How long a cell whose owner is gone goes on handing over what that one has sent."""
_ALERT_SECONDS: Final = 2.0
"""For telling the other cell that the relay does not pass on what it is given."""
_REVOCATION_SECONDS: Final = 1.0
"""How often it is looked whether the other cell's certificate was revoked meanwhile."""
_FIRST_RETRY: Final = 0.1
_LAST_RETRY: Final = 5.0


class Cell:
    """Everything of one cell, in one event loop."""

    def __init__(self, order: Order, owner: OwnerProcess) -> None:
        self._order = order
        self._root = root_of(order.url)
        self._owner = owner
        mode = Mode(order.mode)
        self._fqcn = Fqcn(order.site, order.agent_id, End.of(mode))
        self._since = time.time()
        self._instance = uuid.uuid4().hex
        self._tunnel = Tunnel(self._new_seals if order.kit else None)
        self._work = asyncio.Event()
        self._changed = asyncio.Event()
        self._leaving = asyncio.Event()
        self._left_at = 0.0
        place = Place(Path(order.root), mode.opposite)
        place.channel = order.channel
        self._side = OwnerSide(
            place,
            order.secret,
            order.spool_bytes,
            self._tunnel,
            wake=self._note,
            on_swept=self._on_swept,
        )
        self._sweeps: set[int] = set()
        self._connection: ClientConnection | None = None
        self._joined = False
        self._rejoin = False
        self._random = random.SystemRandom()
        self._revoked: RevokedFile | None = None

    def _new_seals(self, peer: str) -> Seals:
        # Not needed without TLS, and not quick to import.
        from federant.cellnet.revoked import RevokedFile
        from federant.cellnet.seal import Seals

        order = self._order
        if self._revoked is None:
            self._revoked = RevokedFile(Path(order.revoked) if order.revoked else None)
        instances = (self._instance, peer)
        return Seals(
            Path(order.kit), self._fqcn, order.channel, order.job, instances, self._revoked
        )

    async def run(self) -> int:
        """The process's exit status: 0 after its owner, 3 where it cannot be let in or go on."""
        self._owner.watch(self._on_owner_gone, self._sweep)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._side.carry()),
                group.create_task(self._miss_peer()),
            ]
            status = await self._stay_connected()
            for task in tasks:
                task.cancel()
        await self._side.close()
        return status

    # -- the relay ---------------------------------------------------------------------------------

    async def _stay_connected(self) -> int:
        pause = _FIRST_RETRY
        while not self._is_done():
            try:
                async with dialled(self._order.url, self._order.kit, self._order.site) as relay:
                    await self._join(relay)
                    pause = _FIRST_RETRY
                    await self._converse(relay)
            except CellRefused as error:
                is_over = not self._joined or self._fqcn.end is End.AGENT
                if is_over and error.code is not words.Refusal.UNANSWERED:
                    self._owner.tell("refused", code=error.code.value, text=str(error))
                    return 3
                # A site that is revoked goes on trying, and may be given another certificate.
                _log.warning("refused now fqcn=%s error=%s", self._fqcn, error)
                self._owner.tell("unreachable", text=str(error))
            except NoRelayError as error:
                if not self._joined:
                    self._owner.tell("refused", code="no_relay", text=str(error))
                    return 3
                _log.warning("no relay fqcn=%s error=%s", self._fqcn, error)
            except RevokedError as error:
                if self._drop_peer("peer revoked", "revoked", f"{self._root}: {error}"):
                    return 3
            except SealBrokenError as error:
                text = f"{self._root}: {error}; ask who runs that relay"
                if self._drop_peer("seal broken", "broken", text):
                    return 3
            except CellProtocolError as error:
                # What was lost with it would be missed later on.
                _log.warning("peer dropped fqcn=%s error=%s", self._fqcn, error)
                self._begin_anew(str(error))
                self._owner.tell("unreachable", text=str(error))
            except CellError as error:
                if self._connection is not None and not self._rejoin:
                    _log.warning("relay lost fqcn=%s error=%s", self._fqcn, error)
                self._owner.tell("unreachable", text=str(error))
            self._part()
            if self._rejoin:
                self._rejoin = False
                continue
            # Cells that lost one relay do not all come back to it at once.
            await self._wait(self._random.uniform(0.5, 1.0) * pause)
            pause = min(pause * 2, _LAST_RETRY)
        return 0

    def _drop_peer(self, what: str, code: str, text: str) -> bool:
        """Whether that is the end of this cell too."""
        _log.warning("%s fqcn=%s error=%s", what, self._fqcn, text)
        self._begin_anew(text)
        if self._fqcn.end is End.AGENT:
            self._owner.tell("refused", code=code, text=text)
            return True
        # Others may come, with whom nothing is wrong.
        self._owner.tell("broken", text=text)
        return False

    async def _wait(self, seconds: float) -> None:
        if self._leaving.is_set():
            seconds = min(seconds, _FIRST_RETRY)
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), seconds)

    async def _join(self, relay: ClientConnection) -> None:
        order = self._order
        join = words.Join(
            fqcn=str(self._fqcn),
            channel=order.channel,
            instance=self._instance,
            host=socket.gethostname()[:200],
            pid=order.pid,
            since=self._since,
            job=order.job,
        )
        await relay.send(words.to_text(join))
        try:
            answer = await asyncio.wait_for(relay.recv(), ANSWER_SECONDS)
        except TimeoutError as error:
            raise CellError(f"{self._root}: the relay does not answer") from error
        said = _words(answer)
        if isinstance(said, words.Refused):
            raise _refusal(said)
        if not isinstance(said, words.Joined):
            raise NoRelayError(f"{self._root}: no relay of federant answers there")
        self._joined = True
        self._connection = relay
        self._owner.tell("joined")

    async def _converse(self, relay: ClientConnection) -> None:
        """Returns once the owner is gone and what it sent is handed over; else raises CellError."""
        works = [
            self._receive(relay),
            self._send(relay),
            self._hand_over(),
            self._notice_move(relay),
        ]
        if self._order.revoked:
            works.append(self._notice_revocation())
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except SealBrokenError:
            await _ended(tasks)
            with suppress(ConnectionClosed, TimeoutError):
                async with asyncio.timeout(_ALERT_SECONDS):
                    while (message := self._tunnel.next_message()) is not None:
                        await relay.send(message)
                    await relay.close()
            raise
        finally:
            await _ended(tasks)

    async def _send(self, relay: ClientConnection) -> None:
        while True:
            self._work.clear()
            self._side.pump()
            while (message := self._tunnel.next_message()) is not None:
                await relay.send(message)
                self._side.pump()
            self._changed.set()
            await self._work.wait()

    async def _receive(self, relay: ClientConnection) -> None:
        async for message in relay:
            if isinstance(message, bytes):
                for event in self._tunnel.feed(message):
                    self._heard(event)
            else:
                await self._obey(relay, _words(message))
            self._note()
        raise CellError(f"{self._root}: the relay has closed the connection")

    async def _notice_move(self, relay: ClientConnection) -> None:
        address = relay.local_address
        await own_address.lost(address)
        raise CellError(
            f"{self._root}: this machine has the address {address[0]} no more, from which the "
            "connection goes out"
        )

    async def _notice_revocation(self) -> None:
        """Of the one that was met last, be it here or not: its owner need not be waited for."""
        while True:
            await asyncio.sleep(_REVOCATION_SECONDS)
            self._tunnel.check_peer()

    def _heard(self, event: object) -> None:
        if isinstance(event, Packet):
            self._side.receive(event)
        elif isinstance(event, Moved):
            self._side.moved(event.lane)
        else:
            self._owner.tell("resent", bytes=self._tunnel.take_resent_bytes())
            self._side.ready()

    async def _obey(self, relay: ClientConnection, said: words.Words) -> None:
        if isinstance(said, words.Claim):
            await relay.send(words.to_text(words.Holding(alive=not self._owner.is_gone())))
        elif isinstance(said, words.Alone):
            self._part()
        elif isinstance(said, words.Refused):
            raise _refusal(said)
        elif isinstance(said, words.Met):
            known = said.instance == self._tunnel.peer
            if not known and self._owner.is_gone():
                return  # this one only hands over what is left
            if not known:
                self._side.reset()
            self._tunnel.meet(said.instance, said.meeting)

    def _part(self) -> None:
        self._connection = None
        self._tunnel.part()
        self._side.unready()
        for number in list(self._sweeps):
            self._tell_swept(number)
        self._changed.set()

    def _note(self) -> None:
        """Something has come, or is to be sent: whoever waits for that looks again."""
        self._work.set()
        self._changed.set()

    async def _until(self, look: Callable[[], bool]) -> None:
        while True:
            self._changed.clear()
            if look():
                return
            await self._changed.wait()

    # -- the other cell is missing -----------------------------------------------------------------

    async def _miss_peer(self) -> None:
        """Where the other cell stays away for too long, its owner counts as dead."""
        timeout = self._order.peer_timeout
        while timeout:
            await self._until(lambda: not self._misses_nobody())
            try:
                async with asyncio.timeout(timeout):
                    await self._until(self._misses_nobody)
            except TimeoutError:
                _log.warning("peer gone fqcn=%s silent_seconds=%.0f", self._fqcn, timeout)
                self._begin_anew()
                if self._connection is not None:
                    self._rejoin = True
                    await self._connection.close()

    def _misses_nobody(self) -> bool:
        return self._tunnel.synced or self._side.is_over

    def _begin_anew(self, why: str = "") -> None:
        """Under another instance: what was under way must not go on where it stopped."""
        self._side.reset(why)
        self._tunnel.meet("", 0)
        self._tunnel.part()
        self._instance = uuid.uuid4().hex

    # -- the owner ---------------------------------------------------------------------------------

    def _on_owner_gone(self) -> None:
        self._left_at = time.monotonic()
        self._side.owner_left()
        self._leaving.set()
        self._note()

    def _is_done(self) -> bool:
        if not self._leaving.is_set():
            return False
        done = self._side.is_over and self._tunnel.is_idle
        return done or time.monotonic() - self._left_at >= LINGER_SECONDS

    async def _hand_over(self) -> None:
        """Returns once the owner is gone and what it has sent is handed over."""
        await self._leaving.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._left_at + LINGER_SECONDS - time.monotonic()):
                await self._until(self._is_done)

    def _sweep(self, number: int) -> None:
        if not self._tunnel.synced:
            self._tell_swept(number)
            return
        self._sweeps.add(number)
        self._tunnel.put(Lane.EXPRESS, of_sweep(number, What.SWEEP).to_bytes())
        self._note()

    def _on_swept(self, number: int) -> None:
        if number in self._sweeps:
            self._tell_swept(number)

    def _tell_swept(self, number: int) -> None:
        self._sweeps.discard(number)
        self._owner.tell("swept", number=number)


def _refusal(said: words.Refused) -> CellRefused:
    try:
        code = words.Refusal(said.code)
    except ValueError:
        code = words.Refusal.PROTOCOL
    return CellRefused(code, said.text)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _words(message: str | bytes) -> words.Words:
    if isinstance(message, bytes):
        raise CellProtocolError("bytes came where words were due")
    try:
        return words.from_text(message)
    except ValueError as error:
        raise CellProtocolError(str(error)) from error


def main() -> int:
    """Run a cell for the process that started it."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s %(message)s")
    # A Ctrl-C is for the owner; the cell ends after it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as said:
        order = Order.from_line(said.readline().decode())
    status = asyncio.run(_run(order))
    if order.temporary and status == 0:
        shutil.rmtree(order.root, ignore_errors=True)
    return status


async def _run(order: Order) -> int:
    return await Cell(order, OwnerProcess(order.pid)).run()


if __name__ == "__main__":
    sys.exit(main())
