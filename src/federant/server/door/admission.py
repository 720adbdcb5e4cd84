"""Who is let in at all: by certificate where the server has a kit, else by being on this machine.

What one who is let in may do is said by the routes (`identity`), and by whose the task is.
"""

from __future__ import annotations

import time
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from federant.link.loopback import is_loopback
from federant.link.messages import ErrorCode

from .holders import Holders
from .peers import PEER, SURPLUS, Peer
from .refusals import RefusedError, answer, log_denial
from .revocations import Revocations

_OPEN: Final = ("/health/live", "/health/ready")
"""What a stranger may ask: whoever watches the process has no certificate."""


class Gate:
    """Says who comes in.

    With a federation's name: holders of its good certificates, who are noted among the ``holders``.
    Without: whoever calls a loopback address by a name of it; a page in a browser may have had
    another name resolve to this machine.
    """

    def __init__(self, federation: str, revocations: Revocations, holders: Holders) -> None:
        self.federation = federation
        self._revocations = revocations
        self._holders = holders

    def judge(self, peer: Peer | None, host: str, *, surplus: bool = False) -> None:
        """RefusedError unless that one comes in, who has called the server ``host``.

        ``surplus``: there are too many connections of its certificate.
        """
        if self.federation:
            self._judge_peer(peer, surplus=surplus)
        elif not is_loopback(host):
            raise RefusedError(
                ErrorCode.FORBIDDEN,
                f"the server was called as {host!r}; it answers to loopback addresses only",
            )

    def _judge_peer(self, peer: Peer | None, *, surplus: bool) -> None:
        if peer is None:
            raise RefusedError(
                ErrorCode.NO_CERTIFICATE,
                "this server talks to those only who show a certificate of its federation, "
                f"{self.federation}; call it with a startup kit",
            )
        identity = peer.identity
        if identity is None or identity.federation != self.federation:
            raise RefusedError(
                ErrorCode.WRONG_IDENTITY,
                f"the certificate with serial number {peer.serial} names nobody of the federation "
                f"{self.federation}",
            )
        # The handshake looked too, and the connection may be older than its certificate's end.
        if peer.expires <= time.time():
            raise RefusedError(
                ErrorCode.CERTIFICATE_EXPIRED,
                f"the certificate of {identity.title}, serial number {peer.serial}, has expired; "
                "renew it",
            )
        if self._revocations.is_revoked(peer.serial):
            raise RefusedError(
                ErrorCode.CERTIFICATE_REVOKED,
                f"the certificate of {identity.title}, serial number {peer.serial}, was revoked; "
                "ask the federation's operator for another",
            )
        if surplus:
            raise RefusedError(
                ErrorCode.TOO_MANY_CONNECTIONS,
                f"{identity.title} has as many connections here as one certificate may have; use "
                "those that are open, or let the federation's operator allow more (connections "
                "in the table [limits] of server.toml)",
            )
        self._holders.note(peer)


class Gated:
    """Round an application: its requests pass the gate, but for those that a stranger may make."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not (self._gate.federation and scope["path"] in _OPEN):
            try:
                host = HTTPConnection(scope).url.hostname or ""
                state = scope["state"]
                self._gate.judge(state.get(PEER), host, surplus=state.get(SURPLUS, False))
            except RefusedError as error:
                log_denial(scope, error.code, error.message)
                await answer(error.code, error.message)(scope, receive, send)
                return
        await self._app(scope, receive, send)
