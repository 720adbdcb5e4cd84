"""The dialled side of a TLS handshake, so that whoever is refused learns why.

asyncio's own drops a client whose certificate it does not accept: the client is not sent the alert
that says why, and nothing is logged.
"""

from __future__ import annotations

import contextvars
import logging
import ssl
from typing import Any

_log = logging.getLogger(__name__)

handshake_client: contextvars.ContextVar[str] = contextvars.ContextVar(
    "handshake_client", default="(unknown)"
)
"""Who shakes hands in this context, for the log."""


def client_text(address: Any) -> str:
    """Who that is, as the log has it: the address of a connection's other end."""
    host, port = address[:2] if address else ("?", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Handshake(ssl.SSLObject):
    """Lets the alert out with which it refuses a certificate; a context's ``sslobject_class``."""

    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            # OpenSSL has no words for most of the rest, and a name in capitals for all of it.
            reason = getattr(error, "verify_message", None) or error.reason or str(error)
            _log.warning("denied client=%s reason=%r", handshake_client.get(), reason)
            if not isinstance(error, ssl.SSLCertVerificationError):
                raise
            self._failure = error
            # Whoever drives this sends what is to be sent and waits for the other side, which
            # reads the alert and goes; else the handshake's time ends it.
            raise ssl.SSLWantReadError("the alert is on its way") from error
