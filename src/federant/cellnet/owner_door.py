"""How a cell and its owner find each other on their machine, and greet; nothing is carried here.

The agent's cell listens, and the owner dials; at the client job's it is the other way round.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable

from federant.pipe import PipeBusyError, PipeProtocolError
from federant.pipe.local import greetings, sockets
from federant.pipe.local.connection import Connection, Peer
from federant.pipe.local.place import Place
from federant.pipe.local.wire import Hello, Record, Welcome
from federant.spool import SpoolReader

_log = logging.getLogger(__name__)


class OwnerDoor:
    """Of one cell. Used in one event loop, by which it also reads those who come."""

    def __init__(self, place: Place, token: str, on_come: Callable[[Connection], None]) -> None:
        """`place` is the cell's end of the channel, `token` what the two have to show each other.

        `on_come(connection)` gets an owner that has been greeted; the door is closed by then.
        """
        self._place = place
        self._token = token
        self._on_come = on_come
        self._loop = asyncio.get_running_loop()
        self._listener: socket.socket | None = None
        self._guest: Connection | None = None  # not greeted yet

    # -- the owner dials ---------------------------------------------------------------------------

    def open(self) -> None:
        """Whoever dials from now on is greeted, if it is the owner."""
        if self._listener is None:
            sockets.private_folder(self._place.root)
            with contextlib.suppress(PipeBusyError):
                self._listener = sockets.listen(self._place.socket)
                self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Nobody can dial; one who has is still greeted."""
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            self._place.socket.unlink(missing_ok=True)

    def dismiss(self) -> None:
        """Who has dialled, and was not greeted, goes."""
        guest, self._guest = self._guest, None
        if guest is not None:
            self._loop.remove_reader(guest)
            guest.end()

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            came, _ = self._listener.accept()
        except BlockingIOError:
            return
        came.setblocking(False)
        if sockets.credentials(came)[1] != os.geteuid():
            came.close()
            return
        self.dismiss()
        self._guest = guest = Connection(came, self._new_folder())
        self._loop.add_reader(came, self._hear, guest)

    def _hear(self, guest: Connection) -> None:
        alive = guest.read()
        try:
            greeting = next(guest.records(), None)
            if greeting is None and alive:
                return
            if isinstance(greeting, Hello):
                self._greet(guest, greeting)
                return
            _log.warning("refused pipe=%s reason=no greeting came", self._place)
        except PipeProtocolError as error:
            _log.warning("refused pipe=%s reason=%s", self._place, error)
        self.dismiss()

    def _greet(self, guest: Connection, greeting: Hello) -> None:
        refusal = greetings.refusal(greeting, self._token, self._place.channel, None)
        if refusal is not None:
            guest.post(refusal)
            raise PipeProtocolError(refusal.text)
        self._know(guest, greeting)
        self._loop.remove_reader(guest)
        self._guest = None
        self.close()
        guest.post(greetings.welcome(guest.own_folder))
        self._on_come(guest)

    # -- the cell dials ----------------------------------------------------------------------------

    def dial(self) -> Connection | None:
        """A connection whose first record has to be the owner's `welcome`; None if it is closing.

        What is to be sent on it at first waits in it.
        """
        came = sockets.connect(self._place.socket)
        if came is None:
            return None
        connection = Connection(came, self._new_folder())
        connection.post(greetings.hello(self._token, self._place.channel, connection.own_folder))
        return connection

    def welcome(self, connection: Connection, record: Record) -> None:
        """The owner's first record on it has come; PipeProtocolError if that is no greeting."""
        if not isinstance(record, Welcome):
            raise PipeProtocolError(f"a {type(record).__name__} record came as greeting")
        self._know(connection, record)

    def is_answered(self) -> bool:
        """Whether the owner would take another connection."""
        probe = sockets.connect(self._place.socket)
        if probe is not None:
            probe.close()
        return probe is not None

    # -- who it is ---------------------------------------------------------------------------------

    def _new_folder(self) -> str:
        return greetings.new_folder(self._place.channel, self._place.mode)

    def _know(self, connection: Connection, greeting: Hello | Welcome) -> None:
        """PipeProtocolError if the folder that it names is not one of the owner's."""
        folder = greetings.checked_folder(
            greeting.folder, self._place.channel, self._place.mode.opposite
        )
        pid, _ = sockets.credentials(connection.socket)

        def nothing_is_mapped() -> None:
            """What is read is copied, and given back by hand."""

        connection.greeted(
            Peer(pid, folder, 0.0, tuple(greeting.features)),
            SpoolReader(self._place.spool / folder, nothing_is_mapped),
        )
