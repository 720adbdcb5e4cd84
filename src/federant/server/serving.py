"""Serves an application on a socket until told to stop; knows nothing of what it serves."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp

from federant.link.errors import LinkConfigError
from federant.link.loopback import is_loopback

from .accepting import TlsAcceptor
from .peers import PeerProtocol
from .wakeups import Wakeups

_GRACE_SECONDS: Final = 1
"""How long a request under way may take once the server stops; long polls are woken."""

_KEEP_ALIVE_SECONDS: Final = 75
_BACKLOG: Final = 512


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

    Whoever waits at the server is woken and answered when it stops.  With ``tls`` nothing else is
    spoken.
    """

    def __init__(self, app: ASGIApp, wakeups: Wakeups, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=PeerProtocol,
                loop="uvloop",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self._wakeups = wakeups
        self._tls = tls
        self._accepting: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._tls is None:
            await super().startup(sockets)
            return
        await super().startup([])
        acceptor = TlsAcceptor(self._tls, self._new_protocol)
        self._accepting = [asyncio.create_task(acceptor.accept(one)) for one in sockets or []]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._wakeups.close()
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets)

    def _new_protocol(self) -> asyncio.Protocol:
        return PeerProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def stop(self) -> None:
        """End ``run``, from any thread."""
        self.should_exit = True


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
