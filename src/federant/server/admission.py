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
from .peers import PEER, Peer
from .refusals import RefusedError, answer, log_denial
from .revocations import Revocations

_OPEN: Final = ("/health/live", "/health/ready")
"""What a stranger may ask: whoever watches the process has no certificate."""


class CertificateGate:
    """Round an application: only holders of good certificates of the federation come in.

    Those are noted among the ``holders``.
    """

    def __init__(
        self, app: ASGIApp, federation: str, revocations: Revocations, holders: Holders
    ) -> None:
        self._app = app
        self._federation = federation
        self._revocations = revocations
        self._holders = holders

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            try:
                self._judge(scope["state"][PEER])
            except RefusedError as error:
                log_denial(scope, error.code, error.message)
                await answer(error.code, error.message)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _judge(self, peer: Peer | None) -> None:
        if peer is None:
            raise RefusedError(
                ErrorCode.NO_CERTIFICATE,
                "this server talks to those only who show a certificate of its federation, "
                f"{self._federation}; call it with a startup kit",
            )
        identity = peer.identity
        if identity is None or identity.federation != self._federation:
            raise RefusedError(
                ErrorCode.WRONG_IDENTITY,
                f"the certificate with serial number {peer.serial} names nobody of the federation "
                f"{self._federation}",
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
        self._holders.note(peer)


class LoopbackGate:
    """Round an application: refuses a page in a browser that had another name resolve to this
    machine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = HTTPConnection(scope).url.hostname or ""
            if not is_loopback(host):
                message = (
                    f"the server was called as {host!r}; it answers to loopback addresses only"
                )
                log_denial(scope, ErrorCode.FORBIDDEN, message)
                await answer(ErrorCode.FORBIDDEN, message)(scope, receive, send)
                return
        await self._app(scope, receive, send)
