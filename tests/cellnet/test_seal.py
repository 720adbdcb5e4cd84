"""Two sealed tunnels and a relay between them that does not pass on what it is given."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import NoneType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federant.cellnet.errors import CellError, CellProtocolError, RevokedError, SealBrokenError
from federant.cellnet.names import End, Fqcn
from federant.cellnet.revoked import RevokedFile
from federant.cellnet.seal import Seals
from federant.cellnet.tunnel import PIECE_BYTES, Lane, Packet, Tunnel
from federant.link.certificate import read_certificate
from federant.link.kit import Kit, load_kit
from federant.link.messages import RevokedSerials
from federant.provision import FederationKits
from federant.testing.certificates import Odd

OddKit = Callable[..., Kit]

HEAD = 18
"""Bytes of a message that say which packet it is."""

Relay = Callable[[bytes], list[bytes]]


def faithful(message: bytes) -> list[bytes]:
    return [message]


@dataclass
class Side:
    """One end: its tunnel, what came, and the error that ended it."""

    kit: Kit
    end: End
    instance: str
    peer: str
    channel: str = "task"
    job: str = "job-1"
    agent_id: str = "gpu-7"
    revoked: Path | None = None
    came: list[tuple[Lane, bytes]] = field(default_factory=list)
    error: CellError | None = None

    def __post_init__(self) -> None:
        fqcn = Fqcn("site-1", self.agent_id, self.end)

        def seals(peer: str) -> Seals:
            instances = (self.instance, peer)
            revoked = RevokedFile(self.revoked)
            return Seals(self.kit.folder, fqcn, self.channel, self.job, instances, revoked)

        self.tunnel = Tunnel(seals)

    def take(self, message: bytes) -> None:
        if self.error is not None:
            return
        try:
            for event in self.tunnel.feed(message):
                if isinstance(event, Packet):
                    self.came.append((event.lane, event.body))
                    self.tunnel.consumed(event.lane)
        except CellError as error:
            self.error = error


class Ends:
    """An agent's cell and a client job's, with a relay between them."""

    def __init__(self, kits: FederationKits) -> None:
        self.agent = Side(kits.agents["site-1.gpu-7"], End.AGENT, "a", "j")
        self.job = Side(kits.sites["site-1"], End.JOB, "j", "a")
        self.passed: list[bytes] = []
        self.up: Relay = faithful
        """What becomes of what the agent's cell sends."""
        self.down: Relay = faithful
        self.meetings = 0

    def meet(self) -> None:
        self.meetings += 1
        for side in (self.agent, self.job):
            side.tunnel.meet(side.peer, self.meetings)

    def settle(self) -> None:
        busy = True
        while busy:
            busy = False
            for sender, receiver in ((self.agent, self.job), (self.job, self.agent)):
                while (message := sender.tunnel.next_message()) is not None:
                    busy = True
                    for one in (self.up if sender is self.agent else self.down)(message):
                        self.passed.append(one)
                        receiver.take(one)

    def met(self) -> Ends:
        self.meet()
        self.settle()
        assert self.agent.tunnel.synced
        assert self.job.tunnel.synced
        return self


@pytest.fixture
def ends(kits: FederationKits) -> Ends:
    return Ends(kits)


def test_what_is_put_arrives_in_each_lane_and_nobody_between_can_read_it(ends: Ends) -> None:
    ends.met()
    secret = b"the weights of site-1" * 1000
    ends.agent.tunnel.put(Lane.BULK, secret)
    ends.job.tunnel.put(Lane.EXPRESS, secret[:60])
    ends.settle()
    assert ends.job.came == [(Lane.BULK, secret)]
    assert ends.agent.came == [(Lane.EXPRESS, secret[:60])]
    passed = b"".join(ends.passed)
    assert len(passed) > len(secret)
    assert b"weights" not in passed
    assert b"site-1" not in passed


def test_a_cut_needs_no_new_handshake_and_what_is_sent_again_is_the_same(ends: Ends) -> None:
    ends.met()
    ends.agent.tunnel.put(Lane.BULK, b"lost on the way")
    sent = ends.agent.tunnel.next_message()
    assert sent is not None
    ends.passed.clear()
    ends.meet()
    ends.settle()
    assert ends.job.came == [(Lane.BULK, b"lost on the way")]
    again = [message for message in ends.passed if message[HEAD:] == sent[HEAD:]]
    assert len(again) == 1
    assert ends.agent.error is ends.job.error is None


def test_a_kit_that_is_renewed_in_mid_handshake_ends_nothing(ends: Ends, tmp_path: Path) -> None:
    folder = shutil.copytree(ends.job.kit.folder, tmp_path / "kit")
    ends.job.kit = load_kit(folder)
    ends.meet()
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    ends.settle()
    assert ends.agent.error is ends.job.error is None
    assert ends.agent.tunnel.synced
    assert ends.job.tunnel.synced


def test_what_is_small_overtakes_what_is_large(ends: Ends) -> None:
    ends.met()
    while ends.agent.tunnel.has_room(Lane.BULK):
        ends.agent.tunnel.put(Lane.BULK, bytes(PIECE_BYTES))
    message = ends.agent.tunnel.next_message()
    assert message is not None
    ends.job.take(message)
    ends.agent.tunnel.put(Lane.EXPRESS, b"heartbeat")
    ends.settle()
    assert [lane for lane, _ in ends.job.came][:2] == [Lane.BULK, Lane.EXPRESS]


def test_what_is_put_before_the_other_end_has_shown_who_it_is_waits_until_then(ends: Ends) -> None:
    ends.meet()
    ends.job.tunnel.put(Lane.BULK, b"early")
    assert not ends.job.tunnel.is_idle
    ends.settle()
    assert ends.agent.came == [(Lane.BULK, b"early")]
    assert ends.job.tunnel.is_idle


# ---- a relay that tampers ----------------------------------------------------------------------


class Deed(StrEnum):
    FLIP = "flip a byte"
    CUT_SHORT = "leave off the end"
    LENGTHEN = "add to the end"
    SWAP = "swap two packets' contents"
    REPEAT = "send a content again as the next one"
    LEAVE_OUT = "leave a packet out"
    INVENT = "send something else"


class Tamperer:
    """Does its deed to the packets of one lane, once there are two of them."""

    def __init__(self, deed: Deed, at: int) -> None:
        self.deed, self.at = deed, at
        self.held: bytes | None = None

    def __call__(self, message: bytes) -> list[bytes]:
        if message[8] != 1 or message[9] != Lane.BULK:
            return [message]
        if self.held is None:
            self.held = message
            return []
        first, self.held = self.held, None
        return self.done(first, message)

    def done(self, first: bytes, second: bytes) -> list[bytes]:
        head, body = first[:HEAD], bytearray(first[HEAD:])
        place = self.at % len(body)
        match self.deed:
            case Deed.FLIP:
                body[place] ^= 1 + self.at % 255
            case Deed.CUT_SHORT:
                del body[place:]
            case Deed.LENGTHEN:
                body += bytes(1 + self.at % 40)
            case Deed.SWAP:
                return [head + second[HEAD:], second[:HEAD] + bytes(body)]
            case Deed.REPEAT:
                return [first, second[:HEAD] + bytes(body)]
            case Deed.LEAVE_OUT:
                return [second]
            case Deed.INVENT:
                body = bytearray(self.at.to_bytes(8, "little") * 8)
        return [head + bytes(body), second]


@settings(max_examples=60)
@given(st.sampled_from(list(Deed)), st.integers(0, 1 << 40), st.integers(1, 40_000))
def test_a_relay_that_tampers_is_an_error_at_both_ends_and_never_wrong_data(
    kits: FederationKits, deed: Deed, at: int, size: int
) -> None:
    ends = Ends(kits).met()
    ends.up = Tamperer(deed, at)
    contents = [bytes([number]) * size for number in (1, 2)]
    for content in contents:
        ends.agent.tunnel.put(Lane.BULK, content)
    ends.settle()
    came = [body for _, body in ends.job.came]
    assert came == contents[: len(came)]
    assert len(came) < 2
    for side in (ends.agent, ends.job):
        assert isinstance(side.error, SealBrokenError), side.error


def test_a_packet_that_comes_twice_has_its_effect_once(ends: Ends) -> None:
    ends.met()
    ends.up = lambda message: [message, message]
    ends.agent.tunnel.put(Lane.EXPRESS, b"once")
    ends.settle()
    assert ends.job.came == [(Lane.EXPRESS, b"once")]
    assert ends.agent.error is ends.job.error is None


def test_what_was_sent_in_one_lane_is_of_no_use_in_the_other(ends: Ends) -> None:
    ends.met()

    def into_the_other(message: bytes) -> list[bytes]:
        return [message[:9] + bytes([1 - message[9]]) + message[10:]]

    ends.up = into_the_other
    ends.agent.tunnel.put(Lane.BULK, b"for the large lane")
    ends.settle()
    assert ends.job.came == []
    assert isinstance(ends.job.error, CellError)


@settings(max_examples=40)
@given(st.integers(0, 5), st.integers(0, 2**64 - 1), st.sampled_from(list(Lane)))
def test_more_than_came_is_an_error_at_both_ends_and_no_less_is(
    kits: FederationKits, sent: int, said: int, lane: Lane
) -> None:
    ends = Ends(kits).met()
    for number in range(sent):
        ends.agent.tunnel.put(lane, bytes([number]))
    ends.settle()
    assert ends.agent.tunnel.contents_put(lane) == ends.agent.tunnel.contents_sent(lane) == sent
    ends.job.tunnel.require_contents(lane, min(sent, said))
    if said > sent:
        with pytest.raises(SealBrokenError, match=f"{sent} messages of {lane.name} came of {said}"):
            ends.job.tunnel.require_contents(lane, said)
        ends.settle()
        assert isinstance(ends.agent.error, SealBrokenError)
        assert f"came of {said}" in str(ends.agent.error)


def test_a_relay_that_numbers_anew_cannot_hide_that_something_is_missing(ends: Ends) -> None:
    ends.meet()
    # It passes one packet of the handshake on as two, so that the numbers are one ahead.
    split: list[bytes] = []

    def renumbered(message: bytes) -> list[bytes]:
        if message[8] != 1 or message[9] != Lane.EXPRESS:
            return [message]
        number = int.from_bytes(message[10:HEAD], "little")
        if not split:
            split.append(message)
            return [message[: HEAD + 20], head_of(message, number + 1) + message[HEAD + 20 :]]
        return [head_of(message, number + 1) + message[HEAD:]]

    def acknowledged(message: bytes) -> list[bytes]:
        number = int.from_bytes(message[10:HEAD], "little")
        is_ack = message[8] == 2 and message[9] == Lane.EXPRESS
        return [head_of(message, max(number - 1, 0)) if is_ack else message]

    def head_of(message: bytes, number: int) -> bytes:
        return message[:10] + number.to_bytes(8, "little")

    ends.up, ends.down = renumbered, acknowledged
    ends.settle()
    assert ends.agent.error is ends.job.error is None
    ends.agent.tunnel.put(Lane.EXPRESS, b"kept by the relay")
    while ends.agent.tunnel.next_message() is not None:
        pass
    assert ends.agent.tunnel.contents_sent(Lane.EXPRESS) == 1
    with pytest.raises(SealBrokenError, match="0 messages of EXPRESS came of 1"):
        ends.job.tunnel.require_contents(Lane.EXPRESS, 1)


@settings(max_examples=60)
@given(st.binary(max_size=300), st.booleans())
def test_hostile_bytes_are_an_error_or_nothing(
    kits: FederationKits, junk: bytes, shaken: bool
) -> None:
    ends = Ends(kits)
    if shaken:
        ends.met()
    else:
        ends.meet()
    ends.job.take(ends.meetings.to_bytes(8, "little") + junk)
    assert ends.job.came == []
    assert isinstance(ends.job.error, CellProtocolError | SealBrokenError | None)


def test_what_the_other_end_says_is_shown_in_one_line_and_not_at_any_length(ends: Ends) -> None:
    ends.met()
    with pytest.raises(SealBrokenError):
        ends.agent.tunnel.refuse(Lane.BULK, "no\n2026-01-01 root logged in\x1b[2J" + 9000 * "x")
    ends.settle()
    assert str(ends.job.error).startswith(
        r"the other cell says: no\n2026-01-01 root logged in\x1b[2Jx"
    )
    assert len(str(ends.job.error)) <= 2000


# ---- a relay that connects others than it says ---------------------------------------------------


def both_refuse(ends: Ends, text: str) -> None:
    ends.meet()
    ends.settle()
    assert not (ends.agent.tunnel.synced and ends.job.tunnel.synced)
    for side in (ends.agent, ends.job):
        assert isinstance(side.error, SealBrokenError)
        assert text in str(side.error)


def test_another_agent_is_refused_by_the_client_job_and_told_so(
    ends: Ends, kits: FederationKits
) -> None:
    ends.agent = replace(ends.agent, kit=kits.agents["site-1.gpu-8"])
    both_refuse(ends, "is of agent gpu-8 of site site-1, and it must be of agent gpu-7 of site")


def test_another_site_is_refused_by_the_agent_and_told_so(ends: Ends, kits: FederationKits) -> None:
    ends.job = replace(ends.job, kit=kits.sites["site-2"])
    both_refuse(ends, "is of site site-2, and it must be of site site-1")


def test_the_server_that_joins_in_itself_is_refused(ends: Ends, kits: FederationKits) -> None:
    ends.job = replace(ends.job, kit=kits.server)
    both_refuse(ends, "is of server of")


def test_an_agent_for_another_job_is_refused(ends: Ends, kits: FederationKits, odd: OddKit) -> None:
    identity = replace(kits.agents["site-1.gpu-7"].identity, job="job-2")
    ends.agent = replace(ends.agent, kit=odd(identity))
    both_refuse(ends, "is of agent gpu-7 of site site-1 for job job-2, and it must be of")


@pytest.mark.parametrize(
    "other",
    [{"channel": "metric"}, {"instance": "b"}, {"peer": "k"}],
    ids=["channel", "cell", "peer"],
)
def test_cells_that_do_not_mean_each_other_are_not_connected(
    ends: Ends, other: dict[str, str]
) -> None:
    ends.agent = replace(ends.agent, **other)  # type: ignore[arg-type]
    ends.meet()
    ends.settle()
    assert isinstance(ends.agent.error, SealBrokenError)
    assert isinstance(ends.job.error, SealBrokenError)


def test_a_certificate_of_another_authority_is_refused(
    ends: Ends, kits: FederationKits, odd: OddKit
) -> None:
    identity = kits.agents["site-1.gpu-7"].identity
    ends.agent = replace(ends.agent, kit=odd(identity, Odd.OTHER_AUTHORITY))
    both_refuse(ends, "certificate")


# ---- revoked -------------------------------------------------------------------------------------


@pytest.fixture
def revoke(ends: Ends, tmp_path: Path) -> Callable[[Kit], str]:
    """``revoke(kit)``: the client job's site hears of it; what whoever has that kit is told."""
    file = tmp_path / "revoked.json"
    ends.job = replace(ends.job, revoked=file)

    def tell(kit: Kit) -> str:
        serial = read_certificate(kit.certificate).serial
        told = RevokedSerials(version="v1", serials=("1f", serial))
        file.with_suffix(".new").write_text(told.model_dump_json())
        file.with_suffix(".new").replace(file)
        return (
            f"certificate_revoked: the certificate of {kit.identity.title}, serial number {serial}"
        )

    return tell


def test_an_agent_that_was_revoked_is_refused_whatever_the_relay_lets_in(
    ends: Ends, revoke: Callable[[Kit], str]
) -> None:
    told = revoke(ends.agent.kit)
    both_refuse(ends, told)
    assert isinstance(ends.agent.error, RevokedError)
    assert isinstance(ends.job.error, RevokedError)


def test_an_agent_that_was_revoked_meanwhile_is_refused_when_the_two_meet_again(
    ends: Ends, revoke: Callable[[Kit], str]
) -> None:
    ends.met()
    told = revoke(ends.agent.kit)
    ends.meet()
    ends.agent.tunnel.put(Lane.EXPRESS, b"still here")
    ends.settle()
    assert ends.job.came == []
    assert told in str(ends.job.error)
    assert told in str(ends.agent.error)
    assert isinstance(ends.agent.error, RevokedError)


@pytest.mark.parametrize("here", [True, False])
def test_an_agent_that_was_revoked_is_known_at_once_be_it_here_or_not(
    ends: Ends, revoke: Callable[[Kit], str], here: bool
) -> None:
    ends.met()
    ends.job.tunnel.check_peer()
    told = revoke(ends.agent.kit)
    if not here:
        ends.job.tunnel.part()
    with pytest.raises(RevokedError, match=told):
        ends.job.tunnel.check_peer()
    ends.settle()
    assert isinstance(ends.agent.error, RevokedError if here else NoneType)


def test_nobody_else_is_revoked(
    ends: Ends, kits: FederationKits, revoke: Callable[[Kit], str]
) -> None:
    revoke(kits.agents["site-1.gpu-8"])
    ends.met()
    revoke(kits.sites["site-1"])
    ends.meet()
    ends.settle()
    assert ends.agent.tunnel.synced
    assert ends.job.tunnel.synced


def test_a_list_that_cannot_be_read_lets_nobody_in(
    ends: Ends, revoke: Callable[[Kit], str]
) -> None:
    assert revoke(ends.agent.kit)
    assert ends.job.revoked is not None
    ends.job.revoked.write_text('{"version": "v1"')
    both_refuse(ends, "the site cannot read its list of revoked certificates")
