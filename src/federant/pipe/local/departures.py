"""How the frames of a LocalPipe go out: inline, or by a file of its own spool folder."""

import logging
import time
from functools import partial

from federant.codec import Frame
from federant.pipe.base import Mode
from federant.pipe.local import greetings
from federant.pipe.local.connection import Connection
from federant.pipe.local.place import Place
from federant.pipe.local.wire import Parcel
from federant.pipe.message import Message
from federant.pipe.turns import Turns
from federant.spool import SpoolClosedError, SpoolFile, SpoolFullError, SpoolWriter

logger = logging.getLogger(__name__)

NEW_BYTES_A_SECOND = 3e9
"""About as fast the kernel makes a new file's pages.

Where a frame of the same size is read just now, a message waits for its file for as long as a new
one would take: a trainer that is about to let go of its task makes do with one file.
"""


class Departures:
    """Writes each large frame once into a file. All but `lease` under the pipe's lock."""

    def __init__(self, place: Place, turns: Turns, spool_bytes: int) -> None:
        self._place = place
        self._turns = turns
        self._spool_bytes = spool_bytes
        self._writer: SpoolWriter | None = None  # the passive end's, for all its connections

    def lease(
        self, connection: Connection, size: int, msg: Message, deadline: float | None
    ) -> SpoolFile | None:
        """A file for a frame; None if there was no room in time, or the connection ended."""
        with self._turns.lock:
            if not connection.ended:
                self._turns.look()  # a file may have been given back meanwhile
            writer = self._writer_for(connection)
        patient_until = time.monotonic() + size / NEW_BYTES_A_SECOND
        if deadline is not None:
            patient_until = min(patient_until, deadline)
        while writer is not None:
            seen = writer.given_back
            patient = time.monotonic() < patient_until
            try:
                return writer.lease(size, beside=not patient)
            except SpoolClosedError:
                break
            except SpoolFullError as full:
                until = patient_until if patient else deadline
                with self._turns.lock:
                    self._turns.wait(partial(_has_room, writer, seen, msg, connection), until)
                    none_came = not patient and writer.given_back == seen
                    if none_came or msg.withdrawn or connection.ended:
                        logger.warning("message not sent pipe=%s reason=%s", self._place, full)
                        break
        return None

    def post(self, connection: Connection, msg: Message, frame: Frame, file: str, seq: int) -> None:
        """Hands the message over: its frame inline, or the name of the file that it lies in."""
        msg.sent_time = time.time()
        connection.post(
            Parcel(
                seq,
                msg.msg_type,
                msg.topic,
                msg.msg_id,
                msg.req_id,
                msg.sent_time,
                b"" if file else frame.to_bytes(),
                file,
                frame.size,
            )
        )
        if connection.unsent_bytes:
            self._turns.bell.ring()

    def folder(self) -> str:
        """The name of the spool folder for the next connection."""
        if self._writer is not None:
            return self._writer.folder.name
        return greetings.new_folder(self._place.channel, self._place.mode)

    def leave_unread(self, connection: Connection) -> None:
        """Gives the own folder up; what the peer may still read there it takes away afterwards."""
        writer, connection.writer = connection.writer, None
        if writer is not None:
            self._writer = None
            if self._place.mode is Mode.PASSIVE:  # the active end needs no names of what it mapped
                unread = {sent.file for sent in connection.sent.open.values()}
                for name in writer.leased_names - unread:
                    writer.give_back(name, recycle=False)
            writer.close(keep_leased=True)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _writer_for(self, connection: Connection) -> SpoolWriter | None:
        if connection.writer is None and not connection.ended:
            if self._writer is None:
                folder = self._place.spool / connection.own_folder
                self._writer = SpoolWriter(folder, self._spool_bytes)
            connection.writer = self._writer
        return connection.writer


def _has_room(writer: SpoolWriter, seen: int, msg: Message, connection: Connection) -> bool:
    return writer.given_back != seen or msg.withdrawn or connection.ended
