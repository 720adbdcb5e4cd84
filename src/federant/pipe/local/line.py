"""How one end of a LocalPipe meets its peers and parts from them; messages are not read here."""

import logging
import math
import select
import time
from collections.abc import Collection
from typing import Final

from federant.pipe.base import Mode
from federant.pipe.errors import PeerGoneError, PipeProtocolError
from federant.pipe.local import greetings, sockets
from federant.pipe.local.arrivals import Arrivals
from federant.pipe.local.connection import Connection, Peer
from federant.pipe.local.departures import Departures
from federant.pipe.local.leftovers import Leftovers
from federant.pipe.local.meeting import Dial, Door
from federant.pipe.local.place import Place
from federant.pipe.local.wire import Bye, Hello, Record, Welcome
from federant.pipe.turns import Interest, Turns
from federant.spool import SpoolReader

logger = logging.getLogger(__name__)

_LINGER_SECONDS: Final = 1.0


class Line:
    """The connection to one peer after the other. Used under the pipe's lock."""

    def __init__(
        self,
        place: Place,
        token: str,
        turns: Turns,
        arrivals: Arrivals,
        departures: Departures,
        leftovers: Leftovers,
    ) -> None:
        self.connection: Connection | None = None
        self.parted = 0
        """How many connections have ended: one may come and end between two looks."""
        self.token = token
        """What the active end must show."""
        self._place = place
        self._turns = turns
        self._arrivals = arrivals
        self._departures = departures
        self._leftovers = leftovers
        self._door: Door | None = None  # the passive end's
        self._dial = Dial()  # the active end's

    @property
    def peer(self) -> Peer | None:
        """Who is connected now."""
        connection = self.connection
        return None if connection is None else connection.peer

    # -- life --------------------------------------------------------------------------------------

    def open(self) -> None:
        """Listens, once it is clear that nobody else does and what dead peers left is gone."""
        if self._place.mode is Mode.PASSIVE:
            sockets.private_folder(self._place.root)
            door = Door(self._place.socket, self._departures.folder)
            try:
                self._leftovers.clear_all(self._place.spool, self._place.channel)
            except BaseException:
                door.close()
                raise
            self._door = door
        self._dial = Dial()

    def close(self) -> None:
        """Says goodbye."""
        if self._door is not None:
            self._door.close()
            self._door = None
        connection = self.connection
        if connection is not None:
            connection.report_freed()
            # Before the goodbye, so that the peer finds the folder without an owner.
            self._departures.leave_unread(connection)
            connection.post(Bye("closed"))
            self._end(connection, linger=_LINGER_SECONDS)

    def abandon_in_child(self) -> None:
        if self.connection is not None:
            self.connection.abandon_in_child()
        if self._door is not None:
            self._door.abandon_in_child()

    # -- waiting for bytes -------------------------------------------------------------------------

    def interest(self) -> Interest:
        """What to poll for; connects first, if it is time."""
        seconds = math.inf
        descriptors: list[tuple[int, int]] = []
        mode, arrivals = self._place.mode, self._arrivals
        if mode is Mode.ACTIVE and self.connection is None and not arrivals.has_news:
            self._connect()
            # Connected just now: whoever waited to send can do so without an answer.
            seconds = self._dial.seconds if self.connection is None else 0.0
        if self._door is not None:
            descriptors.extend(self._door.descriptors(greet=not arrivals.has_news))
            seconds = self._door.seconds
        if self.connection is not None:
            out = select.POLLOUT if self.connection.unsent_bytes else 0
            descriptors.append((self.connection.fileno(), select.POLLIN | out))
        return Interest(descriptors, seconds)

    def newcomers(self, ready: set[int]) -> Collection[Connection]:
        """Those at the door who have said something."""
        if self._door is None:
            return ()
        came = self._door.admit(ready)
        if came is not None:  # it has mostly said who it is already
            ready = ready | {came.fileno()}
        return self._door.speaking(ready)

    # -- meeting -----------------------------------------------------------------------------------

    def greet(self, connection: Connection, record: Record) -> None:
        """Its first record came. PipeProtocolError if that is no greeting."""
        if self._place.mode is Mode.ACTIVE and isinstance(record, Welcome):
            folder = record.folder
        elif self._door is not None and isinstance(record, Hello):
            refusal = greetings.refusal(record, self.token, self._place.channel, self.peer)
            if refusal is not None:
                logger.warning(
                    "peer refused pipe=%s pid=%d code=%s", self._place, record.pid, refusal.code
                )
                connection.post(refusal)
                self._door.dismiss(connection)
                return
            folder = record.folder
        else:
            raise PipeProtocolError(f"a {type(record).__name__} record came as greeting")
        place = self._place
        folder = greetings.checked_folder(folder, place.channel, place.mode.opposite)
        if self._door is not None:
            self._door.take(connection)
            connection.post(greetings.welcome(connection.own_folder))
            self.connection = connection
        pid, _ = sockets.credentials(connection.socket)
        connection.greeted(
            Peer(pid, folder, time.time(), tuple(record.features)),
            SpoolReader(place.spool / folder, self._turns.bell.ring),
        )
        self._leftovers.meet(place.spool / folder)

    def _connect(self) -> None:
        """Connects if it is time; the answer is not waited for, messages may follow at once."""
        connected = self._dial.connect(self._place.socket)
        if connected is not None:
            self.connection = Connection(connected, self._departures.folder())
            self.connection.post(
                greetings.hello(self.token, self._place.channel, self.connection.own_folder)
            )
            self._turns.changed.notify_all()

    # -- parting -----------------------------------------------------------------------------------

    def refused(self, connection: Connection, text: str) -> None:
        """The other end does not want this one."""
        self.lost(connection, f"it refused this end: {text}", clean=False, final=True)
        self._dial.refused()

    def lost(self, connection: Connection, text: str, *, clean: bool, final: bool = False) -> None:
        """The peer is gone; the active end tells so only if it need not look for it again."""
        if connection is not self.connection:
            if self._door is not None:
                self._door.dismiss(connection)
            return
        peer = connection.peer
        self._end(connection)
        if peer is not None:
            self._dial.succeeded()
        if clean or final or self._place.mode is Mode.PASSIVE:
            who = "the other end" if peer is None else f"process {peer.pid}, the other end"
            self._arrivals.add_news(
                PeerGoneError(f"{who} of {self._place}, is gone: {text}", clean=clean)
            )

    def _end(self, connection: Connection, linger: float = 0.0) -> None:
        self.connection = None
        self.parted += 1
        if self._place.mode is Mode.ACTIVE:
            self._departures.leave_unread(connection)
        elif connection.writer is not None:  # the peer may have them mapped for longer
            for name in connection.writer.leased_names:
                connection.writer.give_back(name, recycle=False)
        connection.end(linger)
        if self._place.mode is Mode.PASSIVE and connection.reader is not None:
            self._leftovers.clear(connection.reader.folder)
