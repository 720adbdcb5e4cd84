"""The interface of every pipe, and what its two ends are called; no transport lives here."""

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Final

from federant.pipe.message import Message


class Mode(StrEnum):
    """Which end of a pipe: the agent's is ACTIVE, the client job's is PASSIVE."""

    ACTIVE = "ACTIVE"
    PASSIVE = "PASSIVE"

    @property
    def opposite(self) -> "Mode":
        return Mode.PASSIVE if self is Mode.ACTIVE else Mode.ACTIVE


class PipeChannelName:
    """The channels that an agent and a client job use."""

    TASK: Final = "task"
    METRIC: Final = "metric"


class Pipe(ABC):
    """One end of a two-ended channel. Any number of threads may send, one at a time may receive.

    Every implementation passes federant.testing.PipeContract, which also fixes what the words mean.
    """

    def __init__(self, mode: Mode) -> None:
        """Takes Mode.ACTIVE, "ACTIVE", Mode.PASSIVE or "PASSIVE"; anything else is a ValueError."""
        if mode not in ("ACTIVE", "PASSIVE"):
            raise ValueError(f"mode must be 'ACTIVE' or 'PASSIVE', got {mode!r}")
        self.mode = Mode(mode)

    @abstractmethod
    def open(self, name: str) -> None:
        """Opens this end of the channel `name`, without waiting for the other end."""

    @abstractmethod
    def clear(self) -> None:
        """Drops the messages that wait to be received here; their senders' calls end with False."""

    @abstractmethod
    def send(self, msg: Message, timeout: float | None = None) -> bool:
        """True: the peer's receive has returned the message. False: not known to be so in time.

        timeout in seconds: None waits for ever, also for a peer that is not there yet; 0 hands the
        message over without waiting (True) or drops it where there is no peer (False). Ends early
        with False when the peer goes, when msg.withdrawn is set and wake() called, or when the
        peer could not read the message and dropped it: then msg.dropped says why (else it is ""),
        and sending it again at once is of little use. After False the message may still arrive;
        sending it again with the same msg_id is safe, because handlers drop duplicates. Raises
        PipeClosedError (a BrokenPipeError) when this end is not open or is closed meanwhile,
        TypeError for data that cannot travel (also without a peer).
        """

    @abstractmethod
    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message, or None: None and 0 look once, else waits at most timeout seconds.

        One that cannot be read is logged and dropped, and its sender is told. A message at hand
        beats the news that its sender is gone: only after the last one does receive raise
        PeerGoneError, once for each peer; then the pipe waits for the next peer.
        Raises PipeClosedError when this end is not open or is closed meanwhile.
        """

    @abstractmethod
    def close(self) -> None:
        """Says goodbye and ends every blocked call. May be called twice, and before open."""

    @abstractmethod
    def can_resend(self) -> bool:
        """Whether an unread message may be sent again (with the same msg_id)."""

    def can_wake(self) -> bool:
        """Whether receive(timeout) returns as soon as a message is there, and wake() works."""
        return False

    def wake(self) -> None:
        """Makes blocked calls look again, or else the next receive: that gives None, a send goes
        on unless its message is withdrawn. Never blocks; may be called from any thread."""
        return

    def release_send_cache(self, msg: Message) -> None:
        """Called by the handler when no more is sent of msg: whatever is kept for another try may
        go. May be called from any thread, and for a message that was never sent."""

    def can_answer(self) -> bool:
        """Whether the peer says what becomes of a message (PipeHandler.accept, refuse).

        False: all that is ever known is that the peer has read it. Then that counts as accepted.
        """
        return True

    def get_last_peer_active_time(self) -> float:
        """When (time.monotonic) the peer last showed life by bytes; 0.0 when not known.

        That it reads what was sent with timeout 0 does not count: where this is taken for progress
        of another message, heartbeats would hold up its end for ever.
        """
        return 0.0

    def arguments(self) -> dict[str, object]:
        """The constructor's arguments but the mode, for export."""
        return {}

    def export(self, export_mode: str) -> tuple[str, dict[str, object]]:
        """(dotted class name, arguments) that make this end ("SELF") or the other one ("PEER")."""
        cls = type(self)
        mode = self.mode if export_mode == "SELF" else self.mode.opposite
        return f"{cls.__module__}.{cls.__qualname__}", {**self.arguments(), "mode": str(mode)}
