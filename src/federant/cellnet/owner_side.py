"""A cell's side towards its owner: what is carried, to and from LocalPipe's socket and spool.

One session after the other: the agent's begins when the agent comes while the other cell is ready,
the client job's when that one is opened. How the owner is greeted is not here, nor the relay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from federant.cellnet.errors import CellProtocolError
from federant.cellnet.owner_door import OwnerDoor
from federant.cellnet.pace import Pace
from federant.cellnet.pieces import (
    Piece,
    What,
    is_clean,
    of_end,
    of_sweep,
    parcel_in,
    record_in,
    sweep_in,
)
from federant.cellnet.session import Session
from federant.cellnet.tunnel import Lane, Packet, Tunnel
from federant.pipe import Mode, PipeProtocolError
from federant.pipe.local.connection import Connection
from federant.pipe.local.place import Place
from federant.pipe.local.wire import (
    LONGEST_ERROR,
    Bye,
    Free,
    Parcel,
    Read,
    Record,
    Refuse,
)
from federant.spool import SpoolError, SpoolFile, SpoolFullError, SpoolWriter, reclaim

_log = logging.getLogger(__name__)

_LINGER_SECONDS: Final = 1.0
_SESSIONS_AT_ONCE: Final = 16
_SESSION_SECONDS: Final = 0.25
"""An agent that opens more sessions than one in that time, over time, has to wait for the next."""


class OwnerSide:
    """Used in one event loop, by which it also reads the owner's socket."""

    def __init__(
        self,
        place: Place,
        token: str,
        spool_bytes: int,
        tunnel: Tunnel,
        *,
        wake: Callable[[], None],
        on_swept: Callable[[int], None],
    ) -> None:
        """`place` is the cell's end of the channel: PASSIVE where the owner is an agent.

        `wake()` is called when there may be more to send, `on_swept(number)` for each SWEPT.
        """
        self._place = place
        self._door = OwnerDoor(place, token, self._on_agent)
        self._spool_bytes = spool_bytes
        self._tunnel = tunnel
        self._wake = wake
        self._on_swept = on_swept
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._sessions = 0  # the number of the one that was opened last
        self._owner_gone = False
        self._pace = Pace(_SESSIONS_AT_ONCE, _SESSION_SECONDS)
        self._pause: asyncio.TimerHandle | None = None  # until another session may be opened
        self._peer_ready = True  # whether the other cell's owner takes another session
        self._held = 0  # express packets that the owner is too slow for
        self._large: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()
        self._peers = 0  # how many other cells there were
        self._room = asyncio.Event()
        self._endings: set[asyncio.Task[None]] = set()

    # -- life --------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether nothing of any session is left to be carried."""
        return self._session is None and not self._endings

    def ready(self) -> None:
        """The other cell is ready: from now on an agent may come."""
        is_free = self._session is None and self._peer_ready and not self._owner_gone
        if self._place.mode is Mode.PASSIVE and is_free:
            self._door.open()
        self._wake()

    def unready(self) -> None:
        """The other cell is not connected: a session stays, but none can begin."""
        if self._session is None:
            self._door.close()

    def reset(self, why: str = "") -> None:
        """The other cell is gone for good: the owner finds its peer dead, and is told why."""
        self._peers += 1
        self._peer_ready = True
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._held = 0
        if self._place.mode is Mode.ACTIVE:
            self._sessions = 0  # another agent's cell begins to count anew
        if self._session is not None:
            if why and not self._session.ending:
                self._session.connection.post(Refuse("broken", why[:LONGEST_ERROR]))
            self._end_session(self._session, clean=False)

    def owner_left(self) -> None:
        """Takes in what the owner has sent before it went; there will be no other session."""
        self._owner_gone = True
        self._door.close()
        self._door.dismiss()
        session = self._session
        if session is not None and not session.ending:
            self._read(session)
            if not session.ending:
                self._owner_end(session, clean=False)

    async def close(self) -> None:
        """Returns once nothing of this is left in the event loop."""
        self._owner_gone = True
        self._door.close()
        self._door.dismiss()
        self.reset()
        if self._endings:
            await asyncio.wait(self._endings)

    # -- sessions ----------------------------------------------------------------------------------

    def _on_agent(self, connection: Connection) -> None:
        self._sessions += 1
        session = self._begin(self._sessions, connection)
        self._tunnel.put(Lane.EXPRESS, Piece(session.number, What.OPEN).to_bytes())
        session.opens_after = self._tunnel.contents_put(Lane.EXPRESS)
        self._read(session)

    def _begin(self, number: int, connection: Connection) -> Session:
        writer = SpoolWriter(self._place.spool / connection.own_folder, self._spool_bytes)
        connection.writer = writer
        self._session = session = Session(number, connection, writer, self._tunnel)
        self._loop.add_reader(connection, self._read, session)
        return session

    def _on_open(self, number: int) -> None:
        """The agent has connected at its side, so the client job's cell does here."""
        if self._session is not None:
            self._end_session(self._session, clean=False)
        self._sessions = number
        may_dial = self._pace.take()
        connection = self._door.dial() if may_dial and not self._owner_gone else None
        if connection is not None:
            self._flush(self._begin(number, connection))
            return
        self._put_last(of_end(number, clean=False))
        if not may_dial and self._pause is None:
            self._pause = self._loop.call_later(self._pace.wait_seconds, self._end_pause)

    def _end_pause(self) -> None:
        self._pause = None
        self._look_for_owner()
        self._wake()

    def _owner_end(self, session: Session, *, clean: bool) -> None:
        """The owner has closed its end; what it sent before is still carried."""
        session.ending = True
        self._unwatch(session)
        self._let_go_of_held()
        session.connection.end()
        session.take_last(of_end(session.number, clean=clean))
        self._wake()

    def _end_session(self, session: Session, *, clean: bool) -> None:
        """The other end is gone, or the session is handed over whole."""
        self._session = None
        self._room.set()
        self._let_go_of_held()
        session.drop_outgoing()
        of_no_use = [session.writer.folder] if session.ending else []
        if not session.ending:
            session.ending = True
            self._unwatch(session)
            if clean:
                session.connection.post(Bye("closed"))
        theirs = session.close_spool()
        if theirs is not None:
            of_no_use.append(theirs)

        async def end() -> None:
            await asyncio.to_thread(session.connection.end, _LINGER_SECONDS)
            if self._place.mode is Mode.PASSIVE:  # a client job looks after its folder itself
                for folder in of_no_use:
                    await asyncio.to_thread(reclaim, folder)
            self._next_may_come()

        task = self._loop.create_task(end())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        task.add_done_callback(lambda _: self._wake())

    def _next_may_come(self) -> None:
        if self._tunnel.synced:
            self.ready()

    # -- from the owner ----------------------------------------------------------------------------

    def _unwatch(self, session: Session) -> None:
        if session.connection.fileno() >= 0:
            self._loop.remove_reader(session.connection)
            self._loop.remove_writer(session.connection)

    def _read(self, session: Session) -> None:
        """Takes in what the owner has sent."""
        connection = session.connection
        alive = connection.read()
        try:
            for record in connection.records():
                self._obey(session, record)
                if session.ending:
                    return
        except PipeProtocolError as error:
            _log.warning("owner dropped pipe=%s error=%s", self._place, error)
            connection.post(Refuse("protocol", str(error)))
            alive = False
        if not alive:
            self._owner_end(session, clean=False)
        elif session.is_full:
            session.paused = True
            self._loop.remove_reader(connection)
        self._wake()

    def _obey(self, session: Session, record: Record) -> None:
        connection = session.connection
        if isinstance(record, Refuse):
            _log.warning("refused by owner pipe=%s reason=%s", self._place, record.text)
            self._owner_end(session, clean=False)
        elif connection.reader is None:
            self._door.welcome(connection, record)
        elif isinstance(record, Parcel | Read):
            session.take(record)
        elif isinstance(record, Free):
            session.writer.give_back(record.file, recycle=record.recycle)
            self._room.set()
        elif isinstance(record, Bye):
            self._owner_end(session, clean=True)
        else:
            raise PipeProtocolError(f"a {type(record).__name__} record came after the greeting")

    def pump(self) -> None:
        """Puts as much as may be under way into the tunnel."""
        session = self._session
        if session is None:
            return
        if session.pump() and self._place.mode is Mode.ACTIVE:
            self._end_session(session, clean=False)
            self._look_for_owner()
        elif session.paused and not session.ending and not session.is_full:
            session.paused = False
            self._loop.add_reader(session.connection, self._read, session)

    def _look_for_owner(self) -> None:
        """Has the client job only dropped that connection, or is it gone?"""
        if not self._owner_gone and self._door.is_answered():
            self._tunnel.put(Lane.BULK, Piece(0, What.READY).to_bytes())

    def moved(self, lane: Lane) -> None:
        """The other cell has consumed more."""
        session = self._session
        if session is None or lane is not Lane.BULK:
            return
        if not session.ending:
            session.moved()
            self._flush(session)
        elif session.is_handed_over and self._place.mode is Mode.PASSIVE:
            # Not before: the next session's messages must not overtake this one's.
            self._end_session(session, clean=False)

    def _put_last(self, piece: Piece) -> None:
        """Where no session is, there is nothing of which it would have to be the last."""
        if self._tunnel.is_flooded:
            raise CellProtocolError("the other cell takes no answers and asks for more")
        sent = self._tunnel.contents_sent(Lane.EXPRESS)
        self._tunnel.put(Lane.BULK, piece.after(sent).to_bytes())

    def sweep(self, number: int) -> None:
        """What the owner has sent until now is to be followed by SWEPT."""
        session = self._session
        piece = of_sweep(number, What.SWEPT)
        if session is not None and not session.ending:
            self._read(session)
        if session is None:
            self._put_last(piece)
        elif session.is_flooded:
            raise CellProtocolError("the other cell takes no answers and asks for more")
        else:
            session.take_last(piece)
        self._wake()

    # -- to the owner ------------------------------------------------------------------------------

    def receive(self, packet: Packet) -> None:
        """A packet of the other cell; large messages go on in `carry`."""
        piece = Piece.from_bytes(packet.body)
        if packet.lane is Lane.BULK:
            if piece.what in (What.END, What.SWEPT):
                express, piece = piece.came_after()
                self._tunnel.require_contents(Lane.EXPRESS, express)
            if piece.session > self._sessions:
                self._tunnel.refuse(
                    Lane.BULK, f"a piece {piece.what.name} came before its session was opened"
                )
            self._large.put_nowait((self._peers, piece))
            return
        if piece.what is What.OPEN and self._place.mode is Mode.ACTIVE:
            self._on_open(piece.session)
        elif piece.what is What.SWEEP:
            self.sweep(sweep_in(piece))
        elif piece.what is What.RECORD:
            self._post(piece)
        else:
            raise CellProtocolError(f"a piece {piece.what.name} came in the express lane")
        if self._session is not None and self._session.is_slow:
            self._held += 1
        else:
            self._tunnel.consumed(Lane.EXPRESS)

    async def carry(self) -> None:
        """Writes what is large into the spool, for ever."""
        while True:
            peer, piece = await self._large.get()
            if peer != self._peers:
                continue
            try:
                if piece.what is What.FILE and (session := self._of(piece)) is not None:
                    parcel = parcel_in(piece)
                    lease, error = await self._lease(session, parcel.size)
                    if not session.ending and self._session is session:
                        session.begin_file(parcel, lease, error)
                else:
                    self._take_large(piece)
            except CellProtocolError as error:
                _log.warning("session dropped pipe=%s error=%s", self._place, error)
                if self._session is not None and not self._session.ending:
                    self._owner_end(self._session, clean=False)
            if peer == self._peers:  # else the tunnel has begun anew
                self._tunnel.consumed(Lane.BULK)
            self._wake()

    def _of(self, piece: Piece) -> Session | None:
        """The session that the piece belongs to, if that still takes anything."""
        session = self._session
        if session is None or session.number != piece.session or session.ending:
            return None
        return session

    def _take_large(self, piece: Piece) -> None:
        if piece.what is What.SWEPT:
            self._on_swept(sweep_in(piece))
        elif piece.what is What.RECORD:
            self._post(piece)
        elif piece.what is What.READY:
            self._peer_ready = True
            self._next_may_come()
        elif piece.what is What.END:
            self._peer_ready = self._place.mode is Mode.ACTIVE
            session = self._session
            if session is not None and session.number == piece.session:
                self._end_session(session, clean=is_clean(piece))
        elif piece.what is What.CHUNK:
            session = self._of(piece)
            if session is not None:
                session.add_chunk(piece.content)
                self._flush(session)
        elif piece.what is not What.FILE:
            raise CellProtocolError(f"a piece {piece.what.name} came in the bulk lane")

    def _post(self, piece: Piece) -> None:
        session = self._of(piece)
        if session is not None:
            session.connection.post(record_in(piece))
            self._flush(session)

    def _flush(self, session: Session) -> None:
        if session.connection.unsent_bytes and not session.ending:
            self._loop.add_writer(session.connection, self._on_writable, session)

    def _on_writable(self, session: Session) -> None:
        session.connection.flush()
        if not session.connection.unsent_bytes:
            self._loop.remove_writer(session.connection)
        if not session.is_slow:
            self._let_go_of_held()

    def _let_go_of_held(self) -> None:
        for _ in range(self._held):
            self._tunnel.consumed(Lane.EXPRESS)
        self._held = 0
        self._wake()

    async def _lease(self, session: Session, size: int) -> tuple[SpoolFile | None, str]:
        """A file of the spool, once there is room; else None and why there never will be."""
        while not session.ending:
            self._room.clear()
            try:
                return await asyncio.to_thread(session.writer.lease, size), ""
            except SpoolFullError:
                await self._room.wait()
            except (SpoolError, OSError) as error:
                return None, str(error)
        return None, "the session has ended"
