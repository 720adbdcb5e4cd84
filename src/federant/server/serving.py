"""Serves an application on a socket until told to stop; knows nothing of what it serves."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp

from federant.link.connections import ACCEPTED_OPTIONS
from federant.link.errors import LinkConfigError
from federant.link.loopback import is_loopback

from .door.accepting import TlsAcceptor
from .door.peers import PeerProtocol, peer_of
from .door.request_bounds import HEAD_SECONDS, strangers_of_a_server
from .draining import Drain, DrainGate
from .limits import MOST_CONNECTIONS
from .wakeups import Wakeups

if TYPE_CHECKING:
    from .cells import CellPort

_log = logging.getLogger(__name__)

_DRAIN_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.02
"""Between two looks at buffers of connections: a transport tells nobody that its own is empty."""
_GRACE_SECONDS: Final = 1
"""For a request whose connection was cut to put away what it has got."""

_KEEP_ALIVE_SECONDS: Final = 75
_BACKLOG: Final = 512
_HOUR: Final = 3600


def _nothing() -> None:
    """Nothing is to be done."""


def listen(host: str, port: int, *, preferred_port: int = 0, secure: bool = False) -> socket.socket:
    """A listening socket; with ``port`` 0 it is ``preferred_port`` if free, else any free one.

    LinkConfigError for an address that other machines can reach, if it is not to be ``secure``;
    OSError for one in use.
    """
    if not secure and not is_loopback(host):
        raise LinkConfigError(
            f"the server was to listen on {host!r}, which other machines can reach, without TLS; "
            "give it a startup kit (--kit), or use a loopback address such as 127.0.0.1"
        )
    if not port and preferred_port:
        try:
            return _bound(host, preferred_port)
        except OSError:
            return _bound(host, 0)
    return _bound(host, port)


def url_of(listening: socket.socket, known_as: str | None = None) -> str:
    """The address under which clients reach the socket.

    With TLS it has the host of ``known_as``, the address for which the certificate was made; the
    socket may listen at all of the machine's.
    """
    host, port = listening.getsockname()[:2]
    scheme = "http"
    if known_as is not None:
        scheme, host = "https", urlsplit(known_as).hostname or host
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class HttpService(uvicorn.Server):
    """Runs an application in the calling thread; SIGTERM and SIGINT end it in the main thread.

    When it stops, whoever waits at the server is woken and answered, other requests under way have
    ``drain_seconds`` to end, and new ones are told to come later; a second signal ends it at once.
    With ``tls`` nothing else is spoken.  ``hourly()``, which must not block, is called at the start
    and once an hour.  Who has not said within ``head_seconds`` what is wanted is hung up on.
    ``cells`` takes the WebSockets; without it there are none.
    One certificate may have ``most_connections`` open at a time.
    """

    def __init__(
        self,
        app: ASGIApp,
        wakeups: Wakeups,
        tls: ssl.SSLContext | None = None,
        *,
        drain_seconds: float = _DRAIN_SECONDS,
        hourly: Callable[[], None] = _nothing,
        head_seconds: float = HEAD_SECONDS,
        cells: CellPort | None = None,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        async def on_the_hour() -> None:
            hourly()

        self._drain = Drain()
        self._drain_seconds = drain_seconds
        self._make_protocol = functools.partial(
            PeerProtocol,
            strangers=strangers_of_a_server(),
            head_seconds=head_seconds,
            connections=Counter(),
            most_connections=most_connections,
        )
        super().__init__(
            uvicorn.Config(
                DrainGate(app, self._drain),
                http=self._make_protocol,  # type: ignore[arg-type]  # any callable that makes one does
                loop="uvloop",
                ws="none" if cells is None else cells.connections(self._drain),  # type: ignore[arg-type]
                lifespan="off",
                access_log=False,
                # Else whoever calls from this machine writes into the log who it is.
                proxy_headers=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_GRACE_SECONDS,
                callback_notify=on_the_hour,
                timeout_notify=_HOUR,
            )
        )
        self._wakeups = wakeups
        self._tls = tls
        self._accepting: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        if self._tls is None:
            await super().startup(sockets)
            return
        await super().startup([])
        acceptor = TlsAcceptor(self._tls, self._new_protocol)
        self._accepting = [asyncio.create_task(acceptor.accept(one)) for one in sockets or []]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain.begun = True
        self._wakeups.close()
        await self._drained()
        await self._hung_up()
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets)

    async def _drained(self) -> None:
        """Wait for what is under way; cut it when time is over, or nobody wants to wait."""
        if not self.force_exit:
            await self._drain.wait(self._drain_seconds)
        if self._drain.under_way:
            _log.warning("stopping, cut requests=%d", self._drain.under_way)
            # Not cancelled: to them it is a client that went away, for which they are made.
            self._abort()

    async def _hung_up(self) -> None:
        """End the connections over which nothing is said, once the last answer has gone out."""
        open_ones = self.server_state.connections
        for connection in list(open_ones):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _GRACE_SECONDS
        while any(each.transport.get_write_buffer_size() for each in open_ones):
            if self.force_exit or loop.time() >= deadline:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        # By TLS one waits until the other side hangs up too, and one that is idle does not.
        self._abort()

    def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self._drain.begun = True
        if self.force_exit:
            self._in_loop(self._drain.give_up)
        super().handle_exit(sig, frame)

    def _new_protocol(self) -> PeerProtocol:
        return self._make_protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def stop(self) -> None:
        """End ``run``, from any thread."""
        self._drain.begun = True
        self.should_exit = True

    def cut(self, serial: str) -> None:
        """Close, from any thread, every connection of who showed the certificate of that number.

        At once, whatever is under way on it.
        """
        self._in_loop(self._cut, serial)

    def _in_loop(self, do: Callable[..., None], *arguments: object) -> None:
        """Have it done there, from any thread; a loop that does not run has no connections."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(do, *arguments)

    def _cut(self, serial: str) -> None:
        for connection in list(self.server_state.connections):
            transport = connection.transport
            peer = peer_of(transport)
            if peer is not None and peer.serial == serial:
                _log.warning(
                    "cut client=%s serial=%s", transport.get_extra_info("peername"), serial
                )
                transport.abort()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for option in ACCEPTED_OPTIONS:
            listening.setsockopt(*option)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise OSError(
            error.errno,
            f"cannot listen on {host} port {port}: {error.strerror}; is another server running "
            "there? give this one another port (--port), or 0 for a free one",
        ) from error
    return listening
