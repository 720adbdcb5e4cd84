"""The relay: where cells meet, of one site or of many; it passes their messages on unread.

It keeps nothing: cells that come again after its death go on where they were.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
import threading
from collections.abc import Collection
from concurrent.futures import Future
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from federant.cellnet import words
from federant.cellnet.admission import Admission, Doorkeeper
from federant.cellnet.dial import (
    CLOSE_SECONDS,
    MESSAGE_BYTES,
    PING_SECONDS,
    PONG_SECONDS,
)
from federant.cellnet.errors import CellProtocolError, CellRefused
from federant.cellnet.guests import MOST_OF_AGENT, MOST_OF_SITE, Guest, Guests
from federant.cellnet.names import End, Fqcn
from federant.cellnet.seats import Seat, Seats
from federant.link.identity import Role
from federant.pipe.cell.address import PATH

_log = logging.getLogger(__name__)

GREETING_SECONDS: Final = 5.0
"""For a TLS handshake, and for the request for a WebSocket after it."""
_JOIN_SECONDS: Final = 10.0
_CLAIM_SECONDS: Final = 3.0
"""For a cell to say whether its owner lives. One that says nothing may only be slow: it keeps its
name until its connection counts as dead (PONG_SECONDS), and who wants it comes again."""
_LEAVE_SECONDS: Final = 8.0
MOST_WAITING: Final = 4
"""Messages of one cell that wait until the other takes them; then it is not read any more."""

_of_library = logging.getLogger(f"{__name__}.websockets")
# It writes a traceback for each stranger; what is to be said of those is said here, in a line.
_of_library.setLevel(logging.CRITICAL + 1)


class Relay:
    """Runs in one event loop."""

    def __init__(self, site: str, admission: Doorkeeper) -> None:
        """`site`: whose relay it is; empty for one of many sites."""
        self.site = site
        self._admission = admission
        self._seats = Seats()
        self._guests = Guests()
        self._partings: set[asyncio.Task[None]] = set()

    async def serve(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        greeting_seconds: float = GREETING_SECONDS,
    ) -> Server:
        """Listens; OSError if the port cannot be had.

        Who has not shaken hands, or not asked for a WebSocket, within `greeting_seconds` each is
        hung up on.
        """
        if context is not None:
            from federant.link.handshake import Handshake

            context.sslobject_class = Handshake
        server = await serve(
            self.serve_cell,
            sock=self._guests.listening(host, port),
            ssl=context,
            subprotocols=[Subprotocol(words.SUBPROTOCOL)],
            compression=None,
            process_request=self._admit_request,
            create_connection=self._guests.new,  # type: ignore[arg-type] # called as a class is
            server_header="federant-relay",
            open_timeout=greeting_seconds,
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
            close_timeout=CLOSE_SECONDS,
            max_size=MESSAGE_BYTES,
            max_queue=MOST_WAITING,
            logger=_of_library,
        )
        if context is not None:
            from federant.link.connections import LIVENESS_OPTIONS

            # A ping waits its turn behind what a cell that is gone does not take.
            for listening in server.sockets:
                for option in LIVENESS_OPTIONS:
                    listening.setsockopt(*option)
        return server

    def _admit_request(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path != PATH:
            return connection.respond(
                HTTPStatus.NOT_FOUND, f"This is the relay of site {self.site}, for cells only.\n"
            )
        try:
            identity = self._admission.identity_of(connection)
        except CellRefused as error:
            self._log_denial(connection, "", str(error))
            return connection.respond(HTTPStatus.FORBIDDEN, f"{error}\n")
        if isinstance(connection, Guest):
            is_agent = identity is not None and identity.role is not Role.SITE
            refusal = self._guests.refusal(connection, MOST_OF_AGENT if is_agent else MOST_OF_SITE)
            if refusal:
                self._log_denial(connection, "", refusal)
                return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, f"{refusal}\n")
        return None

    async def serve_cell(self, connection: ServerConnection) -> None:
        """One connection, from its first message to its end."""
        name = ""
        try:
            async with asyncio.timeout(_JOIN_SECONDS):
                said = _join_in(await connection.recv(decode=True))
            name = said.fqcn
            identity = self._admission.identity_of(connection)
            seat = Seat(Fqcn.parse(said.fqcn), said, connection, identity)
            self._admission.check(seat.fqcn, identity)
            await self._sit_down(seat)
        except ConnectionClosed as error:
            _log.debug("cell left before it joined fqcn=%r reason=%s", name, error)
            return
        except (ValueError, CellProtocolError, CellRefused, TimeoutError) as error:
            code = error.code if isinstance(error, CellRefused) else words.Refusal.PROTOCOL
            self._log_denial(connection, name, str(error))
            with suppress(ConnectionClosed):
                await connection.send(words.to_text(words.Refused(code.value, str(error)[:1000])))
            return
        try:
            await self._pass_on(seat)
        except (ValueError, ConnectionClosed) as error:
            _log.debug("cell left fqcn=%s reason=%s", seat.fqcn, error)
        finally:
            await self._stand_up(seat)

    async def _pass_on(self, seat: Seat) -> None:
        """Hands the cell's messages to the other one, as fast as that takes them."""
        async for message in seat.connection:
            if seat not in self._seats:
                return  # it is being sent away, and may still say much
            if isinstance(message, str):
                said = words.from_text(message)
                if isinstance(said, words.Holding) and not seat.answers.full():
                    seat.answers.put_nowait(said.alive)
                continue
            other = self._seats.other(seat)
            if other is not None:
                try:
                    await other.connection.send(message)
                except ConnectionClosed:
                    continue  # it is sent again when they meet again

    def cut(self, serials: Collection[str]) -> None:
        """Sends away who is connected with one of these certificates, which were revoked."""
        for guest in [guest for serial in serials for guest in self._guests.of(serial)]:
            task = asyncio.create_task(self._send_away(guest))
            self._partings.add(task)
            task.add_done_callback(self._partings.discard)

    async def _send_away(self, guest: Guest) -> None:
        seat = next((each for each in self._seats if each.connection is guest), None)
        try:
            self._admission.identity_of(guest)
        except CellRefused as error:
            self._log_denial(guest, str(seat.fqcn) if seat else "", str(error))
            if seat is not None:
                await self._stand_up(seat)
            if guest.state is State.OPEN:
                # It is told why, if it listens, and goes in any case.
                with suppress(ConnectionClosed, TimeoutError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await guest.send(words.to_text(words.Refused(error.code.value, str(error))))
                        await guest.close()
            guest.transport.abort()

    # -- who is there ------------------------------------------------------------------------------

    async def _sit_down(self, seat: Seat) -> None:
        while (rival := self._rival(seat)) is not None:
            if rival.join.instance != seat.join.instance:
                await self._require_gone(rival, seat)
            if self._seats.remove(rival):
                await rival.end()
        self._seats.put(seat)
        if isinstance(seat.connection, Guest):
            self._guests.joined(seat.connection)
        _log.info("cell joined fqcn=%s channel=%s who=%s", seat.fqcn, seat.join.channel, seat)
        await seat.tell(words.Joined(seat.fqcn.site))
        await self._bring_together(seat)
        if seat.fqcn.end is End.JOB:
            await self._turn_away_others(seat)

    def _rival(self, seat: Seat) -> Seat | None:
        """CellRefused if the client job that is there serves a job that is not that agent's."""
        job = self._seats.job_of(seat)
        if job is not None:
            self._admission.check_job(seat.identity, job.join.job)
        return self._seats.rival(seat)

    async def _bring_together(self, seat: Seat) -> None:
        other = self._seats.other(seat)
        if other is not None:
            meeting = 1 + secrets.randbelow((1 << 63) - 1)
            await seat.tell(words.Met(other.join.instance, meeting))
            await other.tell(words.Met(seat.join.instance, meeting))

    async def _turn_away_others(self, job: Seat) -> None:
        """Agents that have waited there for another job."""
        for agent in self._seats.agents_of(job):
            try:
                self._admission.check_job(agent.identity, job.join.job)
            except CellRefused as error:
                self._log_denial(agent.connection, str(agent.fqcn), str(error))
                await agent.tell(words.Refused(error.code.value, str(error)))
                await agent.end()

    async def _require_gone(self, holder: Seat, seat: Seat) -> None:
        """CellRefused if the one that has the name lives, or may; else returns when it has left."""
        while not holder.answers.empty():  # what it said without being asked
            holder.answers.get_nowait()
        await holder.tell(words.Claim())
        try:
            async with asyncio.timeout(_CLAIM_SECONDS):
                gone = asyncio.ensure_future(holder.gone.wait())
                answer = asyncio.ensure_future(holder.answers.get())
                done, left = await asyncio.wait((gone, answer), return_when=asyncio.FIRST_COMPLETED)
                for task in left:
                    task.cancel()
        except TimeoutError as error:
            raise CellRefused(
                words.Refusal.UNANSWERED,
                f"{seat.fqcn}: channel {seat.join.channel!r} is held by {holder}, whose cell does "
                f"not answer just now; it has {PONG_SECONDS:.0f} s to show that it lives, and is "
                "asked again until then",
            ) from error
        if answer in done and answer.result():
            raise CellRefused(
                words.Refusal.BUSY,
                f"{seat.fqcn}: channel {seat.join.channel!r} is held by {holder}; an agent_id is "
                "for one agent at a time: end that one, or use another agent_id",
            )
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await holder.gone.wait()
        except TimeoutError:
            _log.warning("leaving cell dropped fqcn=%s who=%s", holder.fqcn, holder)

    async def _stand_up(self, seat: Seat) -> None:
        seat.gone.set()
        other = self._seats.other(seat) if seat in self._seats else None
        if self._seats.remove(seat):
            _log.info("cell left fqcn=%s channel=%s", seat.fqcn, seat.join.channel)
        if other is not None:
            await other.tell(words.Alone())
            await self._bring_together(other)  # with another agent, if one waits

    def _log_denial(self, connection: ServerConnection, name: str, reason: str) -> None:
        host, port = (connection.remote_address or ("?", 0))[:2]
        _log.warning("denied client=%s:%s fqcn=%r reason=%s", host, port, name[:200], reason)


def _join_in(message: str) -> words.Join:
    """ValueError, CellProtocolError for anything else."""
    said = words.from_text(message)
    if not isinstance(said, words.Join):
        raise CellProtocolError(f"the first message is {said.KIND!r} and no join")
    return said


class RelayThread:
    """A relay in a thread of its own, for a process that does other things too."""

    def __init__(
        self,
        site: str,
        host: str,
        port: int,
        admission: Admission,
        context: ssl.SSLContext | None,
        greeting_seconds: float = GREETING_SECONDS,
    ) -> None:
        """Returns once the relay listens; OSError if the port cannot be had."""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._relay = Relay(site, admission)
        listening: Future[int] = Future()

        async def run() -> None:
            serving = await self._relay.serve(host, port, context, greeting_seconds)
            async with serving as server:
                listening.set_result(next(iter(server.sockets)).getsockname()[1])
                await self._stop.wait()

        def work() -> None:
            try:
                self._loop.run_until_complete(run())
            except OSError as error:
                listening.set_exception(error)
            finally:
                self._loop.close()

        self._thread = threading.Thread(target=work, name="site-relay", daemon=True)
        self._thread.start()
        self.port = listening.result()
        """The one that it listens on, also where 0 was given."""

    def cut(self, serials: Collection[str]) -> None:
        """Ends the connections made with these certificates, which were revoked."""
        with suppress(RuntimeError):  # a loop that has ended has no connections either
            self._loop.call_soon_threadsafe(self._relay.cut, serials)

    def stop(self) -> None:
        """Closes every connection; may be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
