"""The address of a relay, as a CellPipe is given it; nothing is dialled here."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

PATH: Final = "/cell"
"""Where a relay, at the site or in the server, answers cells."""
_SECURE: Final = ("https", "wss", "grpc", "tcp")
_PLAIN: Final = ("http", "ws", "grpc", "tcp")


def relay_url(root_url: str, *, secure: bool) -> str:
    """The WebSocket address of the relay at `root_url`; ValueError if it must not be used.

    grpc:// and tcp:// are other names for the same, for scripts that have them.
    """
    parts = urlsplit(root_url)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"root_url {root_url!r} has no valid port: {error}") from error
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(
            f"root_url must be a scheme, a host and a port, like https://site-1.example:8760, "
            f"got {root_url!r}"
        )
    if parts.scheme not in (_SECURE if secure else _PLAIN):
        known = ", ".join(f"{scheme}://" for scheme in (_SECURE if secure else _PLAIN))
        raise ValueError(
            f"root_url {root_url!r} cannot be used with secure_mode={secure}; that takes {known}"
        )
    if not secure and not _is_loopback(parts.hostname):
        raise ValueError(
            f"root_url {root_url!r} is on another machine, and without TLS everything on the way "
            "would be shown; use https:// and secure_mode=True, or a loopback address"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    scheme, usual = ("wss", 443) if secure else ("ws", 80)
    return f"{scheme}://{host}:{port or usual}{PATH}"


def root_of(url: str) -> str:
    """A relay's address in words for people, who were given no other: `relay_url` gave this one."""
    parts = urlsplit(url)
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"


def _is_loopback(host: str) -> bool:
    if host.casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
