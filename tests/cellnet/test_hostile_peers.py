"""A cell that is let in and keeps to nothing: the client job's drops it, and serves the next."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from federant.cellnet import words
from federant.cellnet.pieces import Piece, What, of_end, of_record, of_sweep
from federant.cellnet.tunnel import CHUNK_BYTES, PIECE_BYTES, Lane
from federant.codec import encode
from federant.pipe import CellPipe, Message, Mode, PeerGoneError
from federant.pipe.cell.address import PATH
from federant.pipe.local.wire import Parcel, to_bytes
from federant.testing.two_ends import LONG, TASK, in_thread, pass_on, receive, request

NewPipe = Callable[..., CellPipe]

_SYNC, _PACKET = 0, 1
_LARGE = 1 << 20


class HostileAgent:
    """Says what it likes to the client job's cell, and waits for nothing."""

    def __init__(self, connection: ClientConnection, agent_id: str) -> None:
        self._connection = connection
        self._numbers = dict.fromkeys(Lane, 0)
        join = words.Join(f"site-1.{agent_id}.agent", TASK, "hostile", "host", 1, 0.0, "")
        connection.send(words.to_text(join))
        while not isinstance(said := self._heard(), words.Met):
            pass
        self._meeting = said.meeting
        self._send(_SYNC, Lane.EXPRESS, 0, bytes(16))
        self.put(Lane.EXPRESS, Piece(1, What.OPEN))

    def put(self, lane: Lane, piece: Piece) -> None:
        self._numbers[lane] += 1
        self._send(_PACKET, lane, self._numbers[lane], piece.to_bytes())

    def send(self, size: int, sent: int) -> None:
        """Begins a message of that size, and sends so much of it."""
        parcel = Parcel(0, Message.REQUEST, "train", "m", None, 0.0, b"", "", size)
        self.put(Lane.BULK, Piece(1, What.FILE, to_bytes(parcel)))
        while sent:
            part = min(sent, PIECE_BYTES)
            self.put(Lane.BULK, Piece(1, What.CHUNK, bytes(part)))
            sent -= part

    def say(self, word: str) -> None:
        frame = encode(word)
        parcel = Parcel(
            0, Message.REQUEST, "train", "m", None, 0.0, frame.to_bytes(), "", frame.size
        )
        self.put(Lane.EXPRESS, of_record(1, parcel))

    def hear_packets(self, lane: Lane, count: int) -> None:
        while count:
            heard = self._heard()
            count -= isinstance(heard, bytes) and heard[8:10] == bytes((_PACKET, lane))

    def wait_dropped(self) -> None:
        """Until the other cell is gone, or has come anew."""
        while not isinstance(self._heard(), words.Alone | words.Met):
            pass

    def close(self) -> None:
        self._connection.close()

    def _send(self, kind: int, lane: Lane, number: int, body: bytes) -> None:
        self._connection.send(struct.pack("<QBBQ", self._meeting, kind, lane, number) + body)

    def _heard(self) -> words.Words | bytes:
        said = self._connection.recv(LONG)
        return words.from_text(said) if isinstance(said, str) else said


@pytest.fixture
def job(new_cell_pipe: NewPipe) -> CellPipe:
    """A client job's end that has room for one large message and a half."""
    pipe = new_cell_pipe(Mode.PASSIVE, spool_bytes=3 * _LARGE // 2)
    pipe.open(TASK)
    return pipe


@pytest.fixture
def hostile(job: CellPipe, plain_relay: str) -> Iterator[HostileAgent]:
    with connect(
        plain_relay.replace("http", "ws", 1) + PATH,
        subprotocols=[words.SUBPROTOCOL],
        compression=None,
        proxy=None,
        open_timeout=LONG,
        ping_interval=None,
    ) as connection:
        agent = HostileAgent(connection, job.token)
        agent.say("hello")
        assert receive(job).data == "hello"
        yield agent


@pytest.fixture
def is_dropped(
    job: CellPipe, hostile: HostileAgent, new_cell_pipe: NewPipe
) -> Callable[[str], bool]:
    """``is_dropped("why")``: the client job's end is told so, and serves the next agent."""

    def look(why: str) -> bool:
        hostile.wait_dropped()
        with pytest.raises(PeerGoneError, match=why) as gone:
            receive(job)
        hostile.close()
        agent = new_cell_pipe(Mode.ACTIVE)
        agent.open(TASK)
        served = pass_on(agent, job, request(1)).data["number"] == 1
        return served and not gone.value.clean

    return look


def test_one_that_sends_without_end_what_nobody_takes_is_dropped(
    hostile: HostileAgent, is_dropped: Callable[[str], bool]
) -> None:
    hostile.send(_LARGE, _LARGE)
    hostile.send(_LARGE, 20 * CHUNK_BYTES)
    assert is_dropped("does not wait until it may send")


def test_one_that_asks_without_end_and_takes_no_answer_is_dropped(
    job: CellPipe, hostile: HostileAgent, is_dropped: Callable[[str], bool]
) -> None:
    in_thread(job.send, Message.new_request("train", np.zeros(_LARGE // 8 - 1000)), LONG)
    hostile.hear_packets(Lane.BULK, 6)
    for number in range(200):
        hostile.put(Lane.EXPRESS, of_sweep(number, What.SWEEP))
    assert is_dropped("takes no answers and asks for more")


@pytest.mark.parametrize(
    ("lane", "piece", "why"),
    [
        (Lane.EXPRESS, Piece(1, What.END), "a piece END came in the express lane"),
        (
            Lane.BULK,  # else it would be taken for a clean end
            of_end(1, clean=True).after(2**64 - 1),
            "messages of EXPRESS came of 18446744073709551615",
        ),
    ],
    ids=["nonsense", "an end after more than came"],
)
def test_one_that_says_what_cannot_be_is_dropped(
    hostile: HostileAgent, is_dropped: Callable[[str], bool], lane: Lane, piece: Piece, why: str
) -> None:
    hostile.put(lane, piece)
    assert is_dropped(why)


def test_one_that_opens_sessions_without_end_is_no_hindrance_to_the_next_agent(
    job: CellPipe, hostile: HostileAgent, new_cell_pipe: NewPipe
) -> None:
    for number in range(2, 102):
        hostile.put(Lane.EXPRESS, Piece(number, What.OPEN))
    hostile.hear_packets(Lane.BULK, 50)  # the ends of those for which nobody has dialled
    hostile.close()
    agent = new_cell_pipe(Mode.ACTIVE)
    agent.open(TASK)

    def next_number() -> int:
        while True:
            with suppress(PeerGoneError):
                return int(receive(job).data["number"])

    served = in_thread(next_number)
    while not served.done():
        with suppress(PeerGoneError):
            agent.send(request(7), 1.0)
    assert served.result(LONG) == 7
