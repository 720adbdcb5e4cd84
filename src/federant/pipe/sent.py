"""SentLog: what one end has handed over to its peer, and what is known to have become of it."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from federant.pipe.message import MsgId

Key: TypeAlias = tuple[str, MsgId, int]
"""What a message is known by: type, id, and the size of its frame."""

_REMEMBERED: Final = 64


@dataclass(slots=True, eq=False)
class Sent:
    """A message that was handed over; settled says whether it was read."""

    key: Key
    """The message itself is not kept alive."""
    file: str = ""
    settled: bool | None = None
    dropped: str = ""
    """Why the peer could not read it."""
    waited_for: bool = False
    """Whether a sender waits for it, or did."""
    given_up: bool = False
    """Whether its sender has stopped to wait for it."""


@dataclass(slots=True, eq=False)
class SentLog:
    """The messages of one meeting, by their sequence numbers. Not thread-safe."""

    open: dict[int, Sent] = field(default_factory=dict)
    """Those that the peer has neither read nor dropped yet, as far as is known."""
    _read_late: deque[Sent] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def earlier(self, key: Key) -> Sent | None:
        """An earlier try to send the message: it lies unread at the peer, or was read too late."""
        for sent in self.open.values():
            if sent.key == key:
                return sent
        for sent in self._read_late:
            if sent.key == key:
                self._read_late.remove(sent)
                return sent
        return None

    def settle(self, seq: int, *, read: bool, dropped: str = "") -> None:
        """The peer has read the message, or dropped it unread; an unknown one is no matter."""
        sent = self.open.pop(seq, None)
        if sent is not None:
            sent.settled, sent.dropped = read, dropped
            if read and sent.given_up:
                self._read_late.append(sent)

    def waits_for(self, seq: int) -> bool:
        """Whether a sender waits for the message, or did."""
        sent = self.open.get(seq)
        return sent is not None and sent.waited_for

    def end(self) -> None:
        """The peer is gone: who waits for a message to be read waits in vain."""
        for sent in self.open.values():
            sent.settled = False
