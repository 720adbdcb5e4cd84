"""With which certificates everybody has called since the server started; kept in memory only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from federant.link.identity import Identity

from .peers import Peer

_MOST: Final = 8
"""So many certificates of one party are remembered, those that were seen last."""


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate and when its holder last called with it (seconds since the epoch)."""

    serial: str
    expires: float
    last_seen: float


class Holders:
    """Who holds which certificate, as far as they have called.  Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[Identity, dict[str, Held]] = {}

    def note(self, peer: Peer) -> None:
        """Somebody who was let in has called."""
        if peer.identity is None:
            return
        with self._lock:
            held = self._held.setdefault(peer.identity, {})
            held.pop(peer.serial, None)
            held[peer.serial] = Held(peer.serial, peer.expires, self._clock())
            if len(held) > _MOST:
                del held[next(iter(held))]

    def held_by(self, identity: Identity) -> list[Held]:
        """The party's certificates, the newest to be seen last."""
        with self._lock:
            return list(self._held.get(identity, {}).values())

    def holder_of(self, serial: str) -> Identity | None:
        """Who has called with the certificate; None if nobody has."""
        with self._lock:
            return next((who for who, held in self._held.items() if serial in held), None)
