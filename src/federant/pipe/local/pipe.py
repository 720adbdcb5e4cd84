"""LocalPipe: agent and client job on one host, by a Unix-domain socket and the spool.

There is no thread here: whichever thread waits in a call works the sockets, for itself and for the
others that wait meanwhile (turns). How the ends meet and part stands in line, frames in and out
in arrivals and departures, the records between the ends in wire.
"""

import logging
import os
import time
import weakref
from collections.abc import Collection
from pathlib import Path
from typing import Final

from federant.codec import encode
from federant.pipe.arguments import check_id, checked_channel
from federant.pipe.base import Mode, Pipe
from federant.pipe.errors import PeerGoneError, PipeProtocolError
from federant.pipe.local.arrivals import Arrivals
from federant.pipe.local.connection import Connection, Peer
from federant.pipe.local.departures import Departures
from federant.pipe.local.leftovers import Leftovers
from federant.pipe.local.line import Line
from federant.pipe.local.place import Place
from federant.pipe.local.wire import (
    Bye,
    Free,
    Moving,
    Parcel,
    Read,
    Record,
    Refuse,
)
from federant.pipe.message import Message
from federant.pipe.sent import Sent
from federant.pipe.stored_frame import INLINE_BYTES
from federant.pipe.turns import Interest, Turns

logger = logging.getLogger(__name__)

SPOOL_BYTES: Final = 16 << 30
"""How much each end of a channel may keep in its spool folder, unless told otherwise."""
UNSENT_BYTES: Final = 4 << 20
"""With more than this waiting for the peer, a message that waits for nothing is not taken."""


class LocalPipe(Pipe):
    """A pipe between two processes of one user on one host.

    The passive end listens on `<root_path>/<channel>.sock`, the active end connects; either may be
    opened first. Frames of more than 32 KiB lie in `<root_path>/spool`: each end writes each array
    once into a file of its own folder there. At the active end arrays are views of a private
    mapping: writable, at the cost of the pages written. The passive end never maps what its peer
    wrote.

    A connection that breaks without a goodbye means at the passive end that the peer is dead; the
    next one is let in once that is told. The active end connects again, for as long as its owner
    waits in its calls, since a client job may be started anew. Waiting calls of several threads
    share the work; nothing runs in between. A forked child cannot use its parent's pipe.
    """

    def __init__(
        self,
        mode: Mode,
        root_path: str | Path,
        token: str = "",
        spool_bytes: int = SPOOL_BYTES,
        *,
        defer: bool = False,
        keep: Collection[Path] = (),
    ) -> None:
        """token: what the active end must show. spool_bytes: the limit of each end's own folder.

        defer: the passive end receives data as StoredFrame, unread. keep: files in the spool which
        the passive end must not take away, though their writer is dead and nobody holds them.
        """
        super().__init__(mode)
        if not isinstance(root_path, str | Path):
            raise TypeError(f"root_path must be a str or a Path, got {type(root_path).__name__}")
        if defer and self.mode is Mode.ACTIVE:
            raise ValueError("defer is for the passive end: the active end maps what it receives")
        self.root_path = Path(root_path)
        self.spool_bytes = spool_bytes
        self.defer = defer
        self._place = Place(self.root_path, self.mode)
        self._turns = Turns(self._place, self._interest, self._work)
        self._leftovers = Leftovers(keep)
        self._arrivals = Arrivals(self._place, self._turns, self._leftovers, defer=defer)
        self._departures = Departures(self._place, self._turns, spool_bytes)
        self._line = Line(
            self._place, token, self._turns, self._arrivals, self._departures, self._leftovers
        )
        self._active_at = 0.0
        self._next_seq = 0
        _pipes.add(self)

    # -- life --------------------------------------------------------------------------------------

    def open(self, name: str) -> None:
        """Also takes away what dead processes left of this channel, when this is the passive end.

        Raises PipeBusyError if another process holds the passive end, OSError (named after the
        path) if the folder cannot be used.
        """
        name = checked_channel(name)
        with self._turns.lock:
            self._turns.check_closed()
            self._place.channel = name
            self._line.open()
            self._arrivals.entries.clear()
            self._turns.open()

    def close(self) -> None:
        with self._turns.lock:
            if not self._turns.close():
                return
            self._arrivals.drop()
            self._line.close()
            self._departures.close()
            self._arrivals.entries.clear()
            self._leftovers.clear_met()

    def clear(self) -> None:
        self._turns.check_open()
        with self._turns.lock:
            self._turns.check_open()
            self._turns.look()
            self._arrivals.drop()

    @property
    def token(self) -> str:
        """What the active end must show. May be changed at any time, for whoever comes next."""
        return self._line.token

    @token.setter
    def token(self, token: str) -> None:
        self._line.token = token

    @property
    def peer(self) -> Peer | None:
        """Who is connected now."""
        return self._line.peer

    def wait_peer(self, timeout: float | None = None) -> Peer | None:
        """Whoever is connected, or connects within timeout seconds (None: no limit); else None."""
        self._turns.check_open()
        with self._turns.lock:
            self._turns.wait(lambda: self.peer is not None, _deadline(timeout))
            return self.peer

    def can_resend(self) -> bool:
        return True

    def can_wake(self) -> bool:
        return True

    def wake(self) -> None:
        self._turns.wake()

    def get_last_peer_active_time(self) -> float:
        return self._active_at

    def arguments(self) -> dict[str, object]:
        return {
            "root_path": str(self.root_path),
            "token": self.token,
            "spool_bytes": self.spool_bytes,
        }

    # -- messages ----------------------------------------------------------------------------------

    def send(self, msg: Message, timeout: float | None = None) -> bool:
        """Also raises SpoolError when the frame cannot be put into the spool, now or ever.

        A message that lies unread at the peer is not copied again when it is sent again.
        """
        self._turns.check_open()
        for name in ("msg_id", "req_id"):
            check_id(name, getattr(msg, name))
        frame = encode(msg.data)
        msg.dropped = ""
        key = (msg.msg_type, msg.msg_id, frame.size)
        deadline = _deadline(timeout)
        with self._turns.lock:
            self._turns.check_open()
            line, parted = self._line, self._line.parted
            self._turns.wait(
                lambda: line.connection is not None or line.parted != parted or msg.withdrawn,
                deadline,
            )
            connection = line.connection
            if connection is None or msg.withdrawn:
                return False
            if timeout == 0 and connection.unsent_bytes > UNSENT_BYTES:
                return False
            sent = connection.sent.earlier(key)
        file = ""
        if sent is None and frame.size > INLINE_BYTES:
            lease = self._departures.lease(connection, frame.size, msg, deadline)
            if lease is None:
                self._turns.check_open()
                return False
            began = time.monotonic()
            with lease:
                frame.write_into(lease.view)
            file = lease.name
            if deadline is not None:  # the timeout bounds the peer's time, not the copy
                deadline += time.monotonic() - began
        with self._turns.lock:
            self._turns.check_open()
            if connection.ended:
                if file and connection.writer is not None:
                    connection.writer.give_back(file, recycle=False)
                return False
            if sent is None and timeout == 0 and not file:
                self._departures.post(connection, msg, frame, file, seq=0)
                return True
            if sent is None:
                self._next_seq += 1
                sent = connection.sent.open[self._next_seq] = Sent(key, file)
                self._departures.post(connection, msg, frame, file, self._next_seq)
            if timeout == 0:
                return True
            sent.waited_for = True
            self._turns.wait(lambda: sent.settled is not None or msg.withdrawn, deadline)
            sent.given_up = sent.settled is None
            msg.dropped = sent.dropped
            return sent.settled is True

    def receive(self, timeout: float | None = None) -> Message | None:
        self._turns.check_open()
        deadline = _deadline(timeout or 0)
        arrivals = self._arrivals
        while True:
            with self._turns.lock:
                self._turns.wait(lambda: bool(arrivals.entries) or self._turns.woken, deadline)
                if self._turns.woken or not arrivals.entries:
                    self._turns.woken = False
                    return None
                entry = arrivals.entries.popleft()
                if isinstance(entry, PeerGoneError):
                    self._leftovers.clear_met()
                    self._turns.bell.ring()  # the next peer may be waiting
                    raise entry
            msg = arrivals.read(entry)
            if msg is not None:
                return msg

    # -- within: waiting, and working the sockets; the lock is held --------------------------------

    def _interest(self) -> Interest:
        return self._line.interest()

    def _work(self, ready: set[int]) -> None:
        connection = self._line.connection
        if connection is not None:
            connection.flush()
            connection.report_freed()
            if connection.fileno() in ready:
                self._take(connection)
        for newcomer in self._line.newcomers(ready):
            if not self._arrivals.has_news:
                self._take(newcomer)

    def _take(self, connection: Connection) -> None:
        alive = connection.read()
        try:
            for record in connection.records():
                if connection.shows_life(record):
                    self._active_at = time.monotonic()
                self._obey(connection, record)
                if connection.ended:
                    return
        except PipeProtocolError as error:
            logger.warning("peer dropped pipe=%s error=%s", self._place, error)
            connection.post(Refuse("protocol", str(error)))
            self._line.lost(connection, f"it was dropped: {error}", clean=False, final=True)
            return
        if not alive:
            self._line.lost(connection, "its connection ended without a goodbye", clean=False)

    def _obey(self, connection: Connection, record: Record) -> None:
        reader = connection.reader
        if isinstance(record, Refuse):
            self._line.refused(connection, record.text)
        elif reader is None:
            self._line.greet(connection, record)
        elif isinstance(record, Parcel):
            self._arrivals.add(connection, reader, record)
        elif isinstance(record, Read):
            connection.sent.settle(record.seq, read=record.read, dropped=record.error)
        elif isinstance(record, Free):
            if connection.writer is not None:
                connection.writer.give_back(record.file, recycle=record.recycle)
        elif isinstance(record, Bye):
            self._line.lost(connection, "it closed its end", clean=True)
        elif not isinstance(record, Moving):  # that it came is all it says
            raise PipeProtocolError(f"a {type(record).__name__} record came after the greeting")

    def abandon_in_child(self) -> None:
        """For the fork hook: a child that held the connection would hide its parent's death."""
        self._turns.abandon_in_child()
        self._line.abandon_in_child()


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


_pipes: "weakref.WeakSet[LocalPipe]" = weakref.WeakSet()


def _abandon_all_in_child() -> None:
    for pipe in list(_pipes):
        pipe.abandon_in_child()


os.register_at_fork(after_in_child=_abandon_all_in_child)
