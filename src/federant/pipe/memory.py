"""MemoryPipe: both ends in one process, for tests, simulation and a trainer inside the client job.

Messages go through the codec all the same, so that the ends share no object by accident and what
works here travels on every pipe.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

from federant.codec import FrameError, decode, encode
from federant.pipe.base import Mode, Pipe
from federant.pipe.errors import PeerGoneError, PipeBusyError, PipeClosedError
from federant.pipe.message import Message

logger = logging.getLogger(__name__)


class _Fate(Enum):
    UNREAD = auto()
    READ = auto()
    DROPPED = auto()


@dataclass(slots=True, eq=False)
class _Parcel:
    """A message on its way: its data as a frame, the rest as it is."""

    head: Message
    frame: bytearray
    waited_for: bool
    fate: _Fate = _Fate.UNREAD
    dropped: str = ""
    """Why it could not be read."""

    def unpack(self) -> Message:
        head = self.head
        data = decode(self.frame).body
        msg = Message(head.msg_type, head.topic, data, head.msg_id, head.req_id)
        msg.sent_time = head.sent_time
        msg.received_time = time.time()
        return msg


@dataclass(slots=True, eq=False)
class _End:
    """What one end of a channel has: who holds it, what lies there for it."""

    holder: "MemoryPipe | None" = None
    incoming: deque[_Parcel | None] = field(default_factory=deque)
    """None stands where the peer said goodbye."""
    woken: bool = False
    peer_active_at: float = 0.0

    def drop_unread(self) -> None:
        for parcel in self.incoming:
            if parcel is not None:
                parcel.fate = _Fate.DROPPED
        self.incoming = deque(entry for entry in self.incoming if entry is None)


class _Channel:
    """Two ends and the condition under which everything about them changes."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.ends = {Mode.ACTIVE: _End(), Mode.PASSIVE: _End()}


_channels: dict[tuple[str, str], _Channel] = {}
_channels_lock = threading.Lock()


class MemoryPipe(Pipe):
    """Two pipes with the same token and channel name, one of each mode, are the two ends."""

    def __init__(self, token: str, mode: Mode = Mode.ACTIVE) -> None:
        super().__init__(mode)
        if not isinstance(token, str):
            raise TypeError(f"token must be a str, got {type(token).__name__}")
        self.token = token
        self._name = ""
        self._channel: _Channel | None = None

    def open(self, name: str) -> None:
        with _channels_lock:
            channel = _channels.get((self.token, name)) or _Channel()
            with channel.changed:
                end = channel.ends[self.mode]
                if self._channel is not None or end.holder is not None:
                    raise PipeBusyError(f"{self._where(name)} is open already; close it first")
                end.holder = self
                end.woken = False
            _channels[self.token, name] = channel
            self._name = name
            self._channel = channel

    def clear(self) -> None:
        channel = self._open_channel()
        with channel.changed:
            channel.ends[self.mode].drop_unread()
            channel.changed.notify_all()

    def send(self, msg: Message, timeout: float | None = None) -> bool:
        frame = encode(msg.data)
        content = bytearray(frame.size)
        frame.write_into(memoryview(content))
        channel = self._open_channel()
        with channel.changed:
            self._check_holds(channel)
            other = channel.ends[self.mode.opposite]
            msg.dropped = ""
            if timeout == 0 and other.holder is None:
                return False
            msg.sent_time = time.time()
            head = Message(msg.msg_type, msg.topic, None, msg.msg_id, msg.req_id)
            head.sent_time = msg.sent_time
            parcel = _Parcel(head, content, waited_for=timeout != 0)
            other.incoming.append(parcel)
            other.peer_active_at = time.monotonic()
            channel.changed.notify_all()
            if timeout == 0:
                return True
            channel.changed.wait_for(
                lambda: parcel.fate is not _Fate.UNREAD or msg.withdrawn or self._left(channel),
                timeout,
            )
            if parcel.fate is _Fate.READ:
                return True
            msg.dropped = parcel.dropped
            self._check_holds(channel)
            if parcel.fate is _Fate.UNREAD:
                other.incoming.remove(parcel)
            return False

    def receive(self, timeout: float | None = None) -> Message | None:
        deadline = time.monotonic() + (timeout or 0)
        channel = self._open_channel()
        with channel.changed:
            while (parcel := self._next_parcel(channel, deadline)) is not None:
                msg = self._unpack(parcel)
                if parcel.waited_for:
                    channel.ends[self.mode.opposite].peer_active_at = time.monotonic()
                channel.changed.notify_all()
                if msg is not None:
                    return msg
            return None

    def close(self) -> None:
        with _channels_lock:
            channel, self._channel = self._channel, None
            if channel is None:
                return
            with channel.changed:
                end = channel.ends[self.mode]
                other = channel.ends[self.mode.opposite]
                end.holder = None
                end.drop_unread()
                end.incoming.clear()
                if other.holder is not None:
                    other.incoming.append(None)
                else:
                    del _channels[self.token, self._name]
                channel.changed.notify_all()

    def can_resend(self) -> bool:
        return True

    def can_wake(self) -> bool:
        return True

    def wake(self) -> None:
        channel = self._channel
        if channel is not None:
            with channel.changed:
                channel.ends[self.mode].woken = True
                channel.changed.notify_all()

    def get_last_peer_active_time(self) -> float:
        channel = self._channel
        return 0.0 if channel is None else channel.ends[self.mode].peer_active_at

    def arguments(self) -> dict[str, object]:
        return {"token": self.token}

    def _where(self, name: str | None = None) -> str:
        return f"memory pipe token={self.token!r} channel={name or self._name!r} mode={self.mode}"

    def _next_parcel(self, channel: _Channel, deadline: float) -> _Parcel | None:
        end = channel.ends[self.mode]
        channel.changed.wait_for(
            lambda: end.incoming or end.woken or self._left(channel),
            max(deadline - time.monotonic(), 0),
        )
        self._check_holds(channel)
        if end.woken or not end.incoming:
            end.woken = False
            return None
        parcel = end.incoming.popleft()
        if parcel is None:
            raise PeerGoneError(f"the other end of {self._where()} was closed", clean=True)
        return parcel

    def _unpack(self, parcel: _Parcel) -> Message | None:
        """None for one that cannot be read: it is dropped."""
        try:
            msg = parcel.unpack()
        except FrameError as error:
            logger.warning("unreadable message dropped pipe=%s error=%s", self._where(), error)
            parcel.fate, parcel.dropped = _Fate.DROPPED, str(error)
            return None
        parcel.fate = _Fate.READ
        return msg

    def _open_channel(self) -> _Channel:
        channel = self._channel
        if channel is None:
            raise PipeClosedError(f"{self._where()} is not open")
        return channel

    def _left(self, channel: _Channel) -> bool:
        return channel.ends[self.mode].holder is not self

    def _check_holds(self, channel: _Channel) -> None:
        if self._left(channel):
            raise PipeClosedError(f"{self._where()} was closed")
