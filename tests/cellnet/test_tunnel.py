"""Two tunnels: whatever is cut in between, each lane arrives whole and in order; hostile bytes."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federant.cellnet import CellProtocolError
from federant.cellnet.pieces import Piece, What, of_record, of_sweep, parcel_in, record_in, sweep_in
from federant.cellnet.tunnel import (
    CHUNK_BYTES,
    EXPRESS_BYTES,
    PACKET_BYTES,
    PIECE_BYTES,
    SEAL_BYTES,
    WINDOW_BYTES,
    Lane,
    Moved,
    Packet,
    Synced,
    Tunnel,
)
from federant.pipe.local.wire import LONGEST_ERROR, Read


class Ends:
    """Two tunnels and the wires between them, which can be cut."""

    def __init__(self) -> None:
        self.tunnels = (Tunnel(), Tunnel())
        self.came: tuple[list[Packet], list[Packet]] = ([], [])
        self.untaken: tuple[list[Packet], list[Packet]] = ([], [])
        self.meetings = 0
        self.meet()

    def meet(self) -> None:
        self.meetings += 1
        self.wires: tuple[list[bytes], list[bytes]] = ([], [])
        for tunnel, peer in zip(self.tunnels, ("b", "a"), strict=True):
            tunnel.meet(peer, self.meetings)

    def send_one(self, end: int) -> bool:
        message = self.tunnels[end].next_message()
        if message is not None:
            self.wires[1 - end].append(message)
        return message is not None

    def receive_one(self, end: int) -> bool:
        if not self.wires[end]:
            return False
        for event in self.tunnels[end].feed(self.wires[end].pop(0)):
            if isinstance(event, Packet):
                self.came[end].append(event)
                self.tunnels[end].consumed(event.lane)
        return True

    def take_one(self, end: int) -> bool:
        """Receives one, and does not consume it."""
        if not self.wires[end]:
            return False
        for event in self.tunnels[end].feed(self.wires[end].pop(0)):
            if isinstance(event, Packet):
                self.untaken[end].append(event)
        return True

    def consume_one(self, end: int, lane: Lane) -> None:
        packet = next((each for each in self.untaken[end] if each.lane is lane), None)
        if packet is not None:
            self.untaken[end].remove(packet)
            self.came[end].append(packet)
            self.tunnels[end].consumed(lane)

    def settle(self) -> None:
        steps = [(step, end) for end in (0, 1) for step in (self.send_one, self.receive_one)]
        while sum(step(end) for step, end in steps):
            pass

    def of(self, end: int, lane: Lane) -> list[bytes]:
        return [packet.body for packet in self.came[end] if packet.lane is lane]


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.sampled_from(["express", "bulk", "send", "receive", "cut"]), st.integers(0, 1))
    )
)
def test_both_lanes_arrive_whole_and_in_order_whatever_is_cut(steps: list[tuple[str, int]]) -> None:
    ends = Ends()
    put: dict[tuple[int, Lane], list[bytes]] = {}
    for number, (step, end) in enumerate(steps):
        if step in ("express", "bulk"):
            lane = Lane[step.upper()]
            body = str(number).encode()
            ends.tunnels[end].put(lane, body)
            put.setdefault((end, lane), []).append(body)
        elif step == "cut":
            ends.meet()
        else:
            (ends.send_one if step == "send" else ends.receive_one)(end)
    ends.settle()
    for end in (0, 1):
        for lane in Lane:
            assert ends.of(1 - end, lane) == put.get((end, lane), [])
        assert ends.tunnels[end].is_idle


def test_small_messages_go_before_what_is_large() -> None:
    ends = Ends()
    ends.settle()
    sender = ends.tunnels[0]
    while sender.has_room(Lane.BULK):
        sender.put(Lane.BULK, bytes(PIECE_BYTES))
    ends.send_one(0)
    sender.put(Lane.EXPRESS, b"heartbeat")
    ends.settle()
    assert [packet.lane for packet in ends.came[1]][:2] == [Lane.BULK, Lane.EXPRESS]


def test_a_lane_takes_no_more_than_its_window_until_the_other_end_has_consumed_it() -> None:
    ends = Ends()
    sender, receiver = ends.tunnels
    put = 0
    while sender.has_room(Lane.BULK):
        sender.put(Lane.BULK, bytes(WINDOW_BYTES[Lane.BULK] // 6))
        put += WINDOW_BYTES[Lane.BULK] // 6
    assert put == WINDOW_BYTES[Lane.BULK]
    ends.send_one(0)
    ends.send_one(1)
    ends.receive_one(0)
    ends.receive_one(1)
    while ends.send_one(0):
        pass
    for message in ends.wires[1]:
        assert all(isinstance(event, Packet) for event in receiver.feed(message))
    assert receiver.next_message() is None
    receiver.consumed(Lane.BULK)
    ends.send_one(1)
    assert list(sender.feed(ends.wires[0].pop())) == [Moved(Lane.BULK)]
    assert sender.has_room(Lane.BULK)


def test_a_cut_costs_no_more_than_what_was_under_way() -> None:
    ends = Ends()
    ends.settle()
    sender = ends.tunnels[0]
    for _ in range(4):
        sender.put(Lane.BULK, bytes(1000))
        ends.send_one(0)
    ends.receive_one(1)
    ends.meet()
    ends.settle()
    assert len(ends.of(1, Lane.BULK)) == 4
    assert sender.take_resent_bytes() == 3000
    assert sender.take_resent_bytes() == 0


LARGEST = {
    Lane.EXPRESS: WINDOW_BYTES[Lane.EXPRESS] - SEAL_BYTES,
    Lane.BULK: PACKET_BYTES - SEAL_BYTES,
}
SIZES = st.sampled_from([1, 1000, EXPRESS_BYTES, PIECE_BYTES, PACKET_BYTES])


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(Lane), SIZES),
            st.sampled_from(["send", "send all", "receive", "ack", "cut"]),
        ),
        max_size=60,
    )
)
def test_no_cut_costs_more_than_one_chunk(steps: list[str | tuple[Lane, int]]) -> None:
    ends = Ends()
    ends.settle()
    sender = ends.tunnels[0]
    for step in steps:
        if isinstance(step, tuple):
            sender.put(step[0], bytes(min(step[1], LARGEST[step[0]])))
        elif step == "send all":
            while ends.send_one(0):
                pass
        elif step == "cut":
            ends.meet()
            while ends.send_one(1):
                pass
            while ends.receive_one(0):
                pass
            assert sender.take_resent_bytes() <= CHUNK_BYTES
        else:
            {"send": ends.send_one, "receive": ends.receive_one, "ack": ends.send_one}[step](
                0 if step == "send" else 1
            )
    ends.settle()
    assert sender.take_resent_bytes() == 0
    assert sender.is_idle


STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 1), st.sampled_from(Lane), SIZES),
    st.tuples(st.just("consume"), st.integers(0, 1), st.sampled_from(Lane), st.just(0)),
    st.tuples(
        st.sampled_from(["send", "send all", "receive", "receive all", "cut"]),
        st.integers(0, 1),
        st.just(Lane.BULK),
        st.just(0),
    ),
)


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=80))
def test_who_waits_for_room_never_sends_more_than_the_window_whatever_is_cut(
    steps: list[tuple[str, int, Lane, int]],
) -> None:
    ends = Ends()
    for step, end, lane, size in steps:
        if step == "put":
            ends.tunnels[end].put(lane, bytes(min(size, LARGEST[lane])))
        elif step == "consume":
            ends.consume_one(end, lane)
        elif step == "cut":
            ends.meet()
        else:
            one = ends.send_one if step.startswith("send") else ends.take_one
            while one(end) and step.endswith("all"):
                pass
        for lane, most in WINDOW_BYTES.items():
            waits = [len(each.body) for each in ends.untaken[end] if each.lane is lane]
            assert sum(waits) <= most


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("size", [100, 1000, PACKET_BYTES])
def test_who_does_not_wait_for_room_is_an_error_and_fills_no_memory(lane: Lane, size: int) -> None:
    ends = Ends()
    ends.settle()
    most = WINDOW_BYTES[lane] + PACKET_BYTES
    came = 0
    for number in range(1, most // size + 1):
        message = _packet(ends.meetings, lane, number, bytes(size))
        came += sum(isinstance(each, Packet) for each in ends.tunnels[1].feed(message))
    assert came == most // size
    too_much = _packet(ends.meetings, lane, came + 1, bytes(size))
    with pytest.raises(CellProtocolError, match="does not wait until it may send"):
        list(ends.tunnels[1].feed(too_much))
    ends.tunnels[1].consumed(lane)
    assert list(ends.tunnels[1].feed(too_much)) == [Packet(lane, bytes(size))]


def test_it_is_known_when_far_more_waits_than_an_owner_may_have_sent_too_much() -> None:
    ends = Ends()
    ends.settle()
    sender = ends.tunnels[0]
    for _ in range(20_000):
        sender.put(Lane.EXPRESS, bytes(40))
    assert not sender.has_room(Lane.EXPRESS)
    assert not sender.is_flooded
    while not sender.is_flooded:
        sender.put(Lane.EXPRESS, bytes(40))
    assert sender.contents_put(Lane.EXPRESS) < 100_000
    ends.settle()
    assert not sender.is_flooded


def _packet(meeting: int, lane: Lane, number: int, body: bytes) -> bytes:
    return struct.pack("<QBBQ", meeting, 1, lane, number) + body


def test_what_could_never_be_sent_in_a_lane_is_not_taken() -> None:
    for lane in Lane:
        with pytest.raises(ValueError, match=f"a packet of {lane.name} has at most"):
            Tunnel().put(lane, bytes(LARGEST[lane] + 1))


def test_however_much_is_put_no_more_than_a_chunk_is_on_its_way() -> None:
    ends = Ends()
    ends.settle()
    for lane in Lane:
        for _ in range(20):
            ends.tunnels[0].put(lane, bytes(LARGEST[lane]))
    while ends.send_one(0):
        pass
    assert CHUNK_BYTES / 2 < sum(map(len, ends.wires[1])) < CHUNK_BYTES
    ends.settle()
    assert ends.tunnels[0].is_idle


@pytest.mark.parametrize("said", [1, 5], ids=["less than before", "more than was sent"])
def test_a_peer_that_says_it_has_another_number_than_it_can_have_is_an_error(said: int) -> None:
    ends = Ends()
    ends.settle()
    sender = ends.tunnels[0]
    for _ in range(3):
        sender.put(Lane.BULK, b"x")
    ends.settle()
    sender.meet("b", 9)
    head = (9).to_bytes(8, "little") + bytes(10)
    with pytest.raises(CellProtocolError, match=f"packet {said} is said to be the last"):
        list(sender.feed(head + (0).to_bytes(8, "little") + said.to_bytes(8, "little")))


def test_with_another_peer_everything_begins_anew() -> None:
    ends = Ends()
    ends.tunnels[0].put(Lane.EXPRESS, b"for the one that is gone")
    ends.tunnels[0].meet("c", 7)
    assert ends.tunnels[0].is_idle
    other = Tunnel()
    other.meet("a", 7)
    message = other.next_message()
    assert message is not None
    assert list(ends.tunnels[0].feed(message)) == [Synced()]


def test_what_belongs_to_an_earlier_meeting_brings_nothing() -> None:
    ends = Ends()
    ends.settle()
    ends.tunnels[0].put(Lane.EXPRESS, b"late")
    ends.send_one(0)
    late = ends.wires[1].pop()
    ends.meet()
    assert list(ends.tunnels[1].feed(late)) == []


@given(st.binary(max_size=60), st.booleans())
def test_hostile_bytes_are_a_protocol_error_or_nothing(junk: bytes, in_meeting: bool) -> None:
    ends = Ends()
    ends.settle()
    message = (1).to_bytes(8, "little") + junk if in_meeting else junk
    with contextlib.suppress(CellProtocolError):
        for event in ends.tunnels[0].feed(message):
            assert isinstance(event, Packet | Synced | Moved)


def test_a_lane_knows_how_much_came_also_where_it_is_not_sealed() -> None:
    ends = Ends()
    ends.settle()
    ends.tunnels[0].put(Lane.EXPRESS, b"one")
    ends.settle()
    ends.tunnels[1].require_contents(Lane.EXPRESS, 1)
    with pytest.raises(CellProtocolError, match="1 messages of EXPRESS came of 2"):
        ends.tunnels[1].require_contents(Lane.EXPRESS, 2)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_last_piece_says_what_went_before_it(express: int, number: int) -> None:
    piece = Piece.from_bytes(of_sweep(number, What.SWEPT).after(express).to_bytes())
    before, swept = piece.came_after()
    assert (before, sweep_in(swept)) == (express, number)


@given(st.text(max_size=1000))
def test_why_a_message_was_not_read_is_shown_in_one_line(text: str) -> None:
    cut = text.encode(errors="replace").decode()[:LONGEST_ERROR]
    record = record_in(of_record(1, Read(7, read=False, error=cut)))
    assert isinstance(record, Read)
    assert record.error.isprintable()
    assert len(record.error) <= LONGEST_ERROR


@given(st.binary(max_size=200))
def test_hostile_pieces_are_a_protocol_error(junk: bytes) -> None:
    with contextlib.suppress(CellProtocolError):
        piece = Piece.from_bytes(junk)
        assert piece.to_bytes() == junk
    if len(junk) != 8:
        with pytest.raises(CellProtocolError, match="holds no number"):
            sweep_in(Piece(0, What.SWEPT, junk))
    if len(junk) < 8:
        with pytest.raises(CellProtocolError, match="does not say what came before it"):
            Piece(1, What.END, junk).came_after()
    for what in (What.RECORD, What.FILE):
        with pytest.raises(CellProtocolError):
            record_in(Piece(1, what, junk))
        with pytest.raises(CellProtocolError):
            parcel_in(Piece(1, What.FILE, junk))
