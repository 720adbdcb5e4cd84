"""Two cells' machine: numbered packets in two lanes, sent again after a cut; no input or output.

Each lane arrives in order and whole, whatever connections come and go in between. EXPRESS packets
go out before BULK ones, which are small enough that nobody waits long behind one. A lane takes no
more than its window until the other end has consumed what came: so nothing piles up on the way.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from federant.cellnet.errors import CellProtocolError, SealBrokenError

if TYPE_CHECKING:
    from federant.cellnet.seal import Seal, Seals

CHUNK_BYTES: Final = 1 << 20
"""The most that a cut can cost: no more is ever on its way, in both lanes together."""
SEAL_BYTES: Final = 1024
"""The most that a seal adds to a packet."""
PIECE_BYTES: Final = 128 * 1024 - SEAL_BYTES
"""The most of a large message in one packet."""
EXPRESS_BYTES: Final = 64 * 1024
"""A message whose frame is larger travels with what is large."""
PACKET_BYTES: Final = 320 * 1024
"""The most that any packet has, with its seal."""


class Lane(IntEnum):
    EXPRESS = 0
    BULK = 1


WINDOW_BYTES: Final = {Lane.EXPRESS: CHUNK_BYTES // 4, Lane.BULK: 3 * CHUNK_BYTES // 4}
"""How much of a lane may be under way, not yet consumed by the other end.

Each lane has its own share, so that what is small gets through where nobody takes what is large.
"""
_MOST_UNTAKEN_BYTES: Final = 16 * CHUNK_BYTES
_COST_BYTES: Final = 256
"""What keeping a packet costs besides its bytes."""


class _Kind(IntEnum):
    SYNC = 0
    """What this end has received so far, in each lane; the first message of a meeting."""
    PACKET = 1
    ACK = 2


_HEAD: Final = struct.Struct("<QBBQ")  # meeting, kind, lane, number
_SYNC: Final = struct.Struct("<QQ")


class Packet(NamedTuple):
    """A packet of the other end, in its place."""

    lane: Lane
    body: bytes


class Synced(NamedTuple):
    """The other end is ready in this meeting."""


class Moved(NamedTuple):
    """The other end has consumed more of a lane."""

    lane: Lane


@dataclass(slots=True)
class _State:
    """One lane, both directions."""

    seal: Seal | None = None
    waiting: list[bytes] = field(default_factory=list)
    """What was put before the seal was ready."""
    kept: dict[int, bytes] = field(default_factory=dict)
    """What the other end is not known to have received."""
    under_way: deque[tuple[int, int]] = field(default_factory=deque)
    """Number and size of what it is not known to have consumed."""
    bytes_under_way: int = 0
    put: int = 0
    handshakes: int = 0
    """How many of what was put are the seal's own; they come before all contents."""
    sent: int = 0
    bytes_sent: int = 0
    """Of what is under way, how much went out in this meeting or came in an earlier one."""
    received: int = 0
    opened: int = 0
    """How many contents have come."""
    unconsumed: deque[int] = field(default_factory=deque)
    """The sizes of what has come and is not consumed."""
    bytes_unconsumed: int = 0
    consumed: int = 0
    told: int = 0


class Tunnel:
    """One end. Not thread-safe."""

    def __init__(self, new_seals: Callable[[str], Seals] | None = None) -> None:
        """`new_seals(peer)` gives what to lock with for a cell that was not met before; None: what
        goes out may be read on the way."""
        self.peer = ""
        """The instance of the cell at the other end that was met last."""
        self._new_seals = new_seals
        self._lanes = {lane: _State() for lane in Lane}
        self._meeting = 0
        self._sync_due = False
        self._synced = False
        self._resent_bytes = 0

    # -- meetings ----------------------------------------------------------------------------------

    def meet(self, peer: str, meeting: int) -> None:
        """The relay has brought the two together, again perhaps.

        With another peer than the last one everything begins anew: what was under way is void.
        """
        if peer != self.peer:
            self._lanes = {lane: _State() for lane in Lane}
            self.peer = peer
            if peer and self._new_seals is not None:
                seals = self._new_seals(peer)
                for lane, state in self._lanes.items():
                    state.seal = seals.of(lane.name)
                    self._add_due(state)
        self._meeting = meeting
        self._sync_due, self._synced = True, False

    def part(self) -> None:
        """The connection is gone, or the other end's is; what is under way is kept."""
        self._meeting = 0
        self._sync_due = self._synced = False

    def take_resent_bytes(self) -> int:
        """How much goes out again because of the cuts since this was asked last."""
        taken, self._resent_bytes = self._resent_bytes, 0
        return taken

    @property
    def synced(self) -> bool:
        """Whether both ends are ready in this meeting."""
        return self._synced and all(
            state.seal is None or state.seal.ready for state in self._lanes.values()
        )

    # -- out ---------------------------------------------------------------------------------------

    def has_room(self, lane: Lane) -> bool:
        return self._lanes[lane].bytes_under_way < WINDOW_BYTES[lane]

    def is_sent(self, lane: Lane) -> bool:
        """Whether everything in the lane went out in this meeting, or an earlier one."""
        state = self._lanes[lane]
        if state.waiting:
            return False
        return not state.kept or (self._synced and state.sent == state.put)

    @property
    def is_flooded(self) -> bool:
        """Whether so much waits for the other end that it is to be given no more answers."""
        return any(
            state.bytes_under_way + _COST_BYTES * len(state.under_way) > _MOST_UNTAKEN_BYTES
            for state in self._lanes.values()
        )

    def contents_put(self, lane: Lane) -> int:
        """How much was put into the lane since this other end was met first."""
        state = self._lanes[lane]
        return state.put - state.handshakes + len(state.waiting)

    def contents_sent(self, lane: Lane) -> int:
        """How much of that went out: what is put into the other lane now comes after it."""
        state = self._lanes[lane]
        return max(state.sent - state.handshakes, 0)

    def is_consumed(self, lane: Lane) -> bool:
        """Whether the other end is done with everything in the lane."""
        return not self._lanes[lane].under_way and not self._lanes[lane].waiting

    @property
    def is_idle(self) -> bool:
        """Whether the other end has consumed all that was put, and knows the same of this end."""
        return not any(
            state.under_way or state.waiting or state.consumed > state.told
            for state in self._lanes.values()
        )

    def put(self, lane: Lane, body: bytes) -> None:
        """Takes a packet; the caller looks for room first, or else keeps things bounded."""
        most = min(PACKET_BYTES, WINDOW_BYTES[lane]) - SEAL_BYTES
        if len(body) > most:
            raise ValueError(f"a packet of {lane.name} has at most {most} bytes, got {len(body)}")
        state = self._lanes[lane]
        if state.seal is None:
            self._add(state, body)
        elif state.seal.ready:
            self._add(state, state.seal.lock(body))
        else:
            state.waiting.append(body)

    def next_message(self) -> bytes | None:
        """The next message for the other end; None if there is nothing to be sent now."""
        if self._sync_due:
            self._sync_due = False
            for state in self._lanes.values():
                state.told = 0  # it may not have come
            received = _SYNC.pack(*(self._lanes[lane].received for lane in Lane))
            return _HEAD.pack(self._meeting, _Kind.SYNC, 0, 0) + received
        if not self._synced:
            return None
        for lane, state in self._lanes.items():
            if state.consumed > state.told:
                state.told = state.consumed
                return _HEAD.pack(self._meeting, _Kind.ACK, lane, state.consumed)
        for lane, state in self._lanes.items():
            if state.sent < state.put:
                size = len(state.kept[state.sent + 1])
                if state.bytes_sent + size > WINDOW_BYTES[lane]:
                    continue
                state.sent += 1
                state.bytes_sent += size
                head = _HEAD.pack(self._meeting, _Kind.PACKET, lane, state.sent)
                return head + state.kept[state.sent]
        return None

    # -- in ----------------------------------------------------------------------------------------

    def feed(self, message: bytes) -> Iterator[Packet | Synced | Moved]:
        """What a message of the other end brings; CellProtocolError for what none sends.

        What belongs to an earlier meeting, or came already, brings nothing. What does not fit into
        the window, and a packet more, is not taken.
        """
        if len(message) < _HEAD.size:
            raise CellProtocolError(f"a message of {len(message)} bytes is too short")
        meeting, kind, lane_number, number = _HEAD.unpack_from(message)
        body = message[_HEAD.size :]
        if not self._meeting or meeting != self._meeting:
            return
        if kind not in set(_Kind) or lane_number not in set(Lane):
            raise CellProtocolError(f"a message of kind {kind} in lane {lane_number} came")
        lane = Lane(lane_number)
        if kind == _Kind.SYNC:
            self._resume(body)
            self.check_peer()
            if self.synced:
                yield Synced()
        elif kind == _Kind.ACK:
            self._consumed_there(lane, number)
            yield Moved(lane)
        elif len(body) > PACKET_BYTES:
            raise CellProtocolError(f"a packet of {len(body)} bytes came")
        elif number > self._lanes[lane].received + 1:
            # A relay passes on in order what it is given.
            due = self._lanes[lane].received + 1
            self.refuse(lane, f"packet {number} of {lane.name} came where {due} was due")
        elif number == self._lanes[lane].received + 1:
            self._take(lane, number, len(body))
            yield from self._opened(lane, body)

    def check_peer(self) -> None:
        """SealBrokenError if the other end may not be spoken with any more; it is told why."""
        for state in self._lanes.values():
            if state.seal is not None and state.seal.ready:
                try:
                    state.seal.identify()
                finally:
                    self._add_due(state)

    def require_contents(self, lane: Lane, number: int) -> None:
        """SealBrokenError if less came in the lane than the other end says, under its seal, to have
        sent; CellProtocolError without one.

        Numbers and acknowledgements are the relay's to write, and contents are not.
        """
        opened = self._lanes[lane].opened
        if opened < number:
            self.refuse(
                lane, f"{opened} messages of {lane.name} came of {number} that the other cell sent"
            )

    def refuse(self, lane: Lane, text: str) -> NoReturn:
        """What came is not what a cell has sent: lets the other one know, and raises that."""
        state = self._lanes[lane]
        if state.seal is None:
            raise CellProtocolError(text)
        state.seal.refuse(text)
        self._add_due(state)
        raise SealBrokenError(text)

    def consumed(self, lane: Lane) -> None:
        """The oldest packet of that lane that was received and not consumed is done with."""
        state = self._lanes[lane]
        if state.consumed >= state.received:
            raise ValueError(f"all {state.received} packets of {lane.name} are consumed already")
        state.consumed += 1
        state.bytes_unconsumed -= state.unconsumed.popleft()

    def _take(self, lane: Lane, number: int, size: int) -> None:
        state = self._lanes[lane]
        if state.bytes_unconsumed + size > WINDOW_BYTES[lane] + PACKET_BYTES:
            raise CellProtocolError(
                f"packet {number} of {lane.name} came while {state.bytes_unconsumed} bytes of it "
                "are still to be taken: the other cell does not wait until it may send"
            )
        state.received = number
        state.unconsumed.append(size)
        state.bytes_unconsumed += size

    def _opened(self, lane: Lane, body: bytes) -> Iterator[Packet | Synced]:
        state = self._lanes[lane]
        if state.seal is None:
            state.opened += 1
            yield Packet(lane, body)
            return
        try:
            content = state.seal.open(body)
        finally:
            self._add_due(state)
        if content is not None:
            state.opened += 1
            yield Packet(lane, content)
            return
        self.consumed(lane)
        if state.seal.ready:
            for waiting in state.waiting:
                self._add(state, state.seal.lock(waiting))
            state.waiting.clear()
        if self.synced:
            yield Synced()

    def _add_due(self, state: _State) -> None:
        due = state.seal.due() if state.seal is not None else b""
        if due:
            state.handshakes += 1
            self._add(state, due)

    def _add(self, state: _State, body: bytes) -> None:
        state.put += 1
        state.kept[state.put] = body
        state.under_way.append((state.put, len(body)))
        state.bytes_under_way += len(body)

    def _resume(self, body: bytes) -> None:
        if len(body) != _SYNC.size:
            raise CellProtocolError(f"a SYNC message has {len(body)} bytes")
        for state, received in zip(self._lanes.values(), _SYNC.unpack(body), strict=True):
            known = state.put - len(state.kept)
            if not known <= received <= state.put:
                raise CellProtocolError(
                    f"packet {received} is said to be the last that came; {known} was known to "
                    f"have come, and {state.put} were sent"
                )
            for number in [number for number in state.kept if number <= received]:
                del state.kept[number]
            again = [len(part) for number, part in state.kept.items() if number <= state.sent]
            self._resent_bytes += sum(again)
            state.sent = received
            state.bytes_sent = sum(size for number, size in state.under_way if number <= received)
        self._synced = True

    def _consumed_there(self, lane: Lane, number: int) -> None:
        state = self._lanes[lane]
        if number > state.sent:
            raise CellProtocolError(f"packet {number} is acknowledged, {state.sent} were sent")
        while state.under_way and state.under_way[0][0] <= number:
            done, size = state.under_way.popleft()
            state.bytes_under_way -= size
            state.bytes_sent -= size
            state.kept.pop(done, None)
