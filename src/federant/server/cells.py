"""The relay in the server: cells dial the port at which the server answers everything else.

For a site and an agent that can both only dial outward. What passes here is sealed from cell to
cell (federant.cellnet.seal), where it stands what the server could still do to it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from federant.cellnet import words
from federant.cellnet.admission import require_job, require_role
from federant.cellnet.dial import CLOSE_SECONDS, MESSAGE_BYTES, PING_SECONDS, PONG_SECONDS
from federant.cellnet.guests import MOST_OF_AGENT
from federant.cellnet.names import Fqcn
from federant.cellnet.relay import GREETING_SECONDS, MOST_WAITING, Relay
from federant.link.identity import Identity, Role
from federant.link.messages import ErrorCode
from federant.pipe.cell.address import PATH

from .door.admission import Gate
from .door.peers import PEER, peer_of
from .door.refusals import STATUS, RefusedError, log_denial

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from .draining import Drain

_log = logging.getLogger(__name__)

_SERVER: Final = "federant-server"


class CellPort:
    """Whose WebSockets are taken, and the relay that they reach."""

    def __init__(self, gate: Gate, most_cells: int) -> None:
        self._gate = gate
        self._relay = Relay("", _Doorkeeper(gate.federation))
        self._most_cells = most_cells
        self._taken: Counter[Identity | None] = Counter()
        self._callers: dict[CellConnection, Identity | None] = {}

    def connections(self, drain: Drain) -> Callable[..., CellConnection]:
        """For uvicorn, in the place of a class of WebSocket connections."""
        return functools.partial(CellConnection, self, drain)

    async def serve(self, connection: CellConnection) -> None:
        """One cell, from its first message to its end."""
        await self._relay.serve_cell(connection)

    def leave(self, connection: CellConnection) -> None:
        """It is gone, and whoever comes next finds room."""
        if connection in self._callers:
            identity = self._callers.pop(connection)
            self._taken[identity] -= 1
            if not self._taken[identity]:
                del self._taken[identity]

    def judge(self, connection: CellConnection, request: Request, *, draining: bool) -> None:
        """RefusedError unless such a one comes in, and there is room; from then on it has a place,
        until it leaves."""
        if request.path != PATH:
            raise RefusedError(
                ErrorCode.NOT_FOUND, f"{request.path}: WebSockets are spoken at {PATH}"
            )
        if draining:
            raise RefusedError(ErrorCode.NOT_READY, "the server is draining; try again")
        peer = peer_of(connection.transport)
        self._gate.judge(peer, urlsplit(f"//{request.headers.get('Host', '')}").hostname or "")
        identity = peer.identity if peer else None
        if identity is not None and identity.role not in (Role.SITE, Role.AGENT):
            raise RefusedError(
                ErrorCode.WRONG_IDENTITY,
                f"the caller is {identity.title}, and {PATH} is for the cells of sites and "
                "agents only; call it with the kit of one",
            )
        is_agent = identity is not None and identity.role is Role.AGENT
        if is_agent and self._taken[identity] >= MOST_OF_AGENT:
            raise RefusedError(
                ErrorCode.NOT_READY,
                f"there are {MOST_OF_AGENT} connections with this agent's certificate, which is "
                "the most; end a trainer that uses it",
            )
        # One site leaves room for the others; without certificates all are one machine's.
        is_site = identity is not None and identity.role is Role.SITE
        if is_site and self._taken[identity] >= self._most_cells // 2:
            raise RefusedError(
                ErrorCode.NOT_READY,
                f"there are {self._most_cells // 2} cells with this site's certificate, half of "
                "what this server's relay takes; its operator may raise relay.most_cells in "
                "server.toml",
            )
        if self._taken.total() >= self._most_cells:
            raise RefusedError(
                ErrorCode.NOT_READY,
                f"there are {self._most_cells} cells at this server's relay, which is the most; "
                "its operator may raise relay.most_cells in server.toml",
            )
        # Not only once it has its answer: who asks meanwhile must find it here.
        self._callers[connection] = identity
        self._taken[identity] += 1


class _Doorkeeper:
    """Any site's client jobs, and their agents: each under its own names."""

    def __init__(self, federation: str) -> None:
        self._federation = federation

    def identity_of(self, connection: ServerConnection) -> Identity | None:
        peer = peer_of(connection.transport)
        return None if peer is None else peer.identity

    def check(self, fqcn: Fqcn, identity: Identity | None) -> None:
        if identity is not None:
            require_role(fqcn, identity, self._federation)

    def check_job(self, identity: Identity | None, job: str) -> None:
        require_job(identity, job)


class _Serving:
    """What a connection asks of the library's own server, which is not used here."""

    def __init__(self, drain: Drain) -> None:
        self._drain = drain

    def is_serving(self) -> bool:
        return not self._drain.begun


class CellConnection(ServerConnection):
    """A connection that HTTP has taken, from a request for a WebSocket on.

    Not uvicorn's own kinds of WebSocket: this one is the relay's in the site's daemon too, and
    holds no more of a cell's messages than may wait, in either direction.
    """

    def __init__(
        self, port: CellPort, drain: Drain, *, server_state: ServerState, **_: Any
    ) -> None:
        super().__init__(
            # A browser says from which page it comes; no page has business here.
            ServerProtocol(
                origins=[None],
                subprotocols=[Subprotocol(words.SUBPROTOCOL)],
                max_size=MESSAGE_BYTES,
            ),
            cast(Server, _Serving(drain)),
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
            close_timeout=CLOSE_SECONDS,
            max_queue=MOST_WAITING,
        )
        self._port = port
        self._drain = drain
        self._connections: set[Any] = server_state.connections
        """All of the server's, of whatever kind."""
        self._tasks = server_state.tasks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not the library's server is to be told, which would begin with it.
        Connection.connection_made(self, transport)
        self._connections.add(self)
        task = self.loop.create_task(self._attend())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: the cell is told to dial again."""
        self._drain.begun = True
        task = self.loop.create_task(self.close(1001, "the server stops"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attend(self) -> None:
        try:
            async with asyncio.timeout(GREETING_SECONDS):
                await self.handshake(self._admit, None, _SERVER)
            if self.protocol.state is State.OPEN:
                self.start_keepalive()
                async with self:
                    await self._port.serve(self)
        except ConnectionClosed as error:
            _log.debug("cell gone error=%s", error)
        except TimeoutError:
            _log.warning("denied client=%s reason=no whole request came", self.remote_address)
        finally:
            self._port.leave(self)
            self.transport.abort()

    def _admit(self, _: ServerConnection, request: Request) -> Response | None:
        try:
            self._port.judge(self, request, draining=self._drain.begun)
        except RefusedError as error:
            scope = {"state": {PEER: peer_of(self.transport)}, "client": self.remote_address[:2]}
            log_denial({**scope, "method": "GET", "path": request.path}, error.code, error.message)
            text = f"{error.code}: {error.message}\n"
            return self.respond(HTTPStatus(STATUS[error.code]), text)
        return None
