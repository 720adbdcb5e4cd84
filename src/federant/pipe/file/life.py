"""How the ends of a FilePipe know whether the other one lives: locks on one host, else beats.

A beat is a file whose content changes; only the reader's own clock counts, since the clocks of two
hosts may differ by hours.
"""

import contextlib
import fcntl
import json
import math
import os
import platform
import stat
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

VERSION: Final = 1
ALIVE: Final = "alive"
BEAT: Final = "beat"

_PROTOCOL: Final = "federant.filepipe"
_CARD_BYTES: Final = 4096


class NoCardError(ValueError):
    """What should say who an end is, does not."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How the life of the other end is judged."""

    peer_timeout: float = math.inf
    """Seconds of silence after which an end that locks say nothing of counts as dead."""
    trust_locks: bool = True
    clock: Callable[[], float] = time.monotonic

    @property
    def beat_interval(self) -> float:
        return min(2.0, self.peer_timeout / 5)


@dataclass(frozen=True, slots=True)
class Card:
    """Who an end is, as the file says that it holds locked for as long as it lives."""

    id: str
    pid: int
    kernel: str
    """The running kernel: the locks of another one may not be seen here."""
    device: int
    inode: int
    locked: bool
    """Whether the file system had locks."""
    version: int = VERSION


def kernel_id() -> str:
    """The same for all processes under one running kernel, for no others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()


def read_small(path: Path) -> bytes:
    """A plain file of at most 4 KiB; OSError if there is none, NoCardError if it is no such."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NoCardError(f"{path} is no plain file")
        content = os.read(descriptor, _CARD_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > _CARD_BYTES:
        raise NoCardError(f"{path} is longer than {_CARD_BYTES} bytes")
    return content


def read_card(path: Path) -> Card:
    """OSError if there is no file, NoCardError if it is no card of a known protocol."""
    try:
        found: Any = json.loads(read_small(path))
        if not isinstance(found, dict) or found.pop("protocol", None) != _PROTOCOL:
            raise NoCardError(f"{path} is no card of {_PROTOCOL}")
        if found.get("version") != VERSION:
            raise NoCardError(
                f"{path}: the other end speaks {_PROTOCOL} version {found.get('version')}, this "
                f"end version {VERSION}: install the same release at both"
            )
        card = Card(**found)
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, RecursionError) as error:
        raise NoCardError(f"{path} is no card of {_PROTOCOL}: {error}") from error
    for name, kind in (("id", str), ("pid", int), ("kernel", str), ("locked", bool)):
        if not isinstance(getattr(card, name), kind):
            raise NoCardError(f"{path}: {name} is of the wrong type")
    return card


class Alive:
    """This end's card, locked until it is closed or this process dies."""

    def __init__(self, path: Path) -> None:
        """Writes the card; `move` it to where others look for it."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            locked = True
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # there are file systems without locks
                locked = False
            state = os.fstat(self._descriptor)
            self.card = Card(
                uuid.uuid4().hex, os.getpid(), kernel_id(), state.st_dev, state.st_ino, locked
            )
            content = json.dumps({"protocol": _PROTOCOL, **asdict(self.card)})
            os.write(self._descriptor, content.encode())
        except BaseException:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """May be called twice; in a forked child it leaves the parent's lock as it is."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class PeerLife:
    """What is known of the other end's life; its files lie in one folder."""

    def __init__(self, folder: Path, card_name: str, terms: Terms) -> None:
        """OSError if there is no card, NoCardError if it is none."""
        path = folder / card_name
        self.card = read_card(path)
        self._beat_path = folder / BEAT
        self._terms = terms
        self._descriptor = -1
        self._beat: bytes | None = None
        self._beat_at = -math.inf  # when the beat was read last
        self._looked_at = self._heard_at = terms.clock()
        self.awake = False
        """Whether it was seen to be alive."""
        if terms.trust_locks and self.card.locked and self.card.kernel == kernel_id():
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            state = os.fstat(self._descriptor)
            # The same lock only if it is the same file: one server may be mounted twice.
            if (state.st_dev, state.st_ino) != (self.card.device, self.card.inode):
                self.close()

    @property
    def by_lock(self) -> bool:
        """Whether a lock tells of its death at once."""
        return self._descriptor >= 0

    def heard(self) -> None:
        """It showed life."""
        self._heard_at = self._terms.clock()
        self.awake = True

    def death(self) -> str:
        """Why it counts as dead; empty while it does not."""
        if self.by_lock:
            self.awake = self._is_locked()
            return "" if self.awake else f"process {self.card.pid} is dead"
        now, timeout = self._terms.clock(), self._terms.peer_timeout
        if now - self._looked_at > timeout / 2:
            self._heard_at = now  # nobody looked meanwhile: it may have shown life
        self._looked_at = now
        self._look_at_beat(now)
        if now - self._heard_at < timeout:
            return ""
        return f"process {self.card.pid}, maybe of another host, was silent for {timeout:g} s"

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _is_locked(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False

    def _look_at_beat(self, now: float) -> None:
        if now - self._beat_at < self._terms.beat_interval / 2:
            return
        self._beat_at = now
        beat = b""
        with contextlib.suppress(OSError, NoCardError):
            beat = read_small(self._beat_path)
        if beat and self._beat is not None and beat != self._beat:
            self.heard()
        self._beat = beat or self._beat or b""
