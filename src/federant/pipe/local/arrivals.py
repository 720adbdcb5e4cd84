"""What has come through a LocalPipe and waits to be received, and how it is read."""

import logging
import time
from collections import deque
from functools import partial
from typing import NamedTuple

from federant.codec import FrameError, decode
from federant.pipe.base import Mode
from federant.pipe.errors import PeerGoneError
from federant.pipe.local.connection import Connection
from federant.pipe.local.leftovers import Leftovers
from federant.pipe.local.place import Place
from federant.pipe.local.wire import LONGEST_ERROR, Free, Parcel, Read
from federant.pipe.message import Message
from federant.pipe.stored_frame import StoredFrame
from federant.pipe.turns import Turns
from federant.spool import SpoolError, SpoolReader

logger = logging.getLogger(__name__)


class Arrival(NamedTuple):
    """A message that nobody has received yet."""

    connection: Connection
    reader: SpoolReader
    parcel: Parcel


class Arrivals:
    """Messages, and news of a peer's end, in order. All but `read` under the pipe's lock."""

    def __init__(self, place: Place, turns: Turns, leftovers: Leftovers, *, defer: bool) -> None:
        self._place = place
        self._turns = turns
        self._leftovers = leftovers
        self._defer = defer
        self.entries: deque[Arrival | PeerGoneError] = deque()
        """What is to be received next, then the rest."""

    @property
    def has_news(self) -> bool:
        """Whether a peer's end is not told yet: until then its successor has to wait."""
        entries = self.entries
        return bool(entries) and any(isinstance(entry, PeerGoneError) for entry in entries)

    def add(self, connection: Connection, reader: SpoolReader, parcel: Parcel) -> None:
        self.entries.append(Arrival(connection, reader, parcel))
        if parcel.file:
            self._leftovers.want(reader.folder, parcel.file)

    def add_news(self, gone: PeerGoneError) -> None:
        self.entries.append(gone)

    def drop(self) -> None:
        """The messages go back unread; the news stays."""
        news = [entry for entry in self.entries if isinstance(entry, PeerGoneError)]
        for entry in self.entries:
            if isinstance(entry, Arrival):
                if entry.parcel.seq:
                    entry.connection.post(Read(entry.parcel.seq, read=False, error=""))
                if entry.parcel.file:
                    self._give_back(entry)
        self.entries = deque(news)

    def read(self, arrival: Arrival) -> Message | None:
        """The message; None if it cannot be read and is dropped. Its sender is told either way."""
        problem = ""
        try:
            msg = self._unpack(arrival)
        except (FrameError, SpoolError, TypeError, ValueError) as error:
            logger.warning("unreadable message dropped pipe=%s error=%s", self._place, error)
            msg, problem = None, str(error)[:LONGEST_ERROR]
        if arrival.parcel.seq:
            with self._turns.lock:
                arrival.connection.post(Read(arrival.parcel.seq, msg is not None, problem))
        return msg

    def _unpack(self, arrival: Arrival) -> Message:
        parcel = arrival.parcel
        if parcel.file:
            data = self._from_spool(arrival)
        elif self._defer:
            data = StoredFrame.of_bytes(parcel.frame)
        else:
            data = decode(bytearray(parcel.frame)).body
        msg = Message(parcel.msg_type, parcel.topic, data, parcel.msg_id, parcel.req_id)
        msg.sent_time = parcel.sent_time
        msg.received_time = time.time()
        return msg

    def _from_spool(self, arrival: Arrival) -> object:
        _, reader, parcel = arrival
        if self._defer:
            return StoredFrame.of_file(
                reader, parcel.file, parcel.size, partial(self._release, arrival)
            )
        take = reader.map if self._place.mode is Mode.ACTIVE else reader.read
        try:
            memory = take(parcel.file, parcel.size)
        except SpoolError:
            self._release(arrival, recycle=False)
            raise
        if self._place.mode is Mode.PASSIVE:
            self._release(arrival)
        else:  # the mapping's death gives the file back; until then it needs no name
            with self._turns.lock:
                self._leftovers.done(reader.folder, parcel.file)
        return decode(memoryview(memory)).body

    def _release(self, arrival: Arrival, *, recycle: bool = True) -> None:
        with self._turns.lock:
            self._give_back(arrival, recycle=recycle)

    def _give_back(self, arrival: Arrival, *, recycle: bool = True) -> None:
        connection, reader, parcel = arrival
        connection.post(Free(parcel.file, recycle))
        self._leftovers.done(reader.folder, parcel.file)
        if connection.ended:
            self._leftovers.clear(reader.folder)
