"""What strangers, and holders of a certificate, can take of a relay: bounded in every way."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from federant.cellnet import words
from federant.cellnet.admission import Admission
from federant.cellnet.dial import MESSAGE_BYTES
from federant.cellnet.guests import MAX_HEAD_BYTES, MOST_NEWCOMERS, MOST_OF_AGENT, Guests
from federant.cellnet.relay import RelayThread
from federant.link.kit import Kit
from federant.link.tls import client_context
from federant.pipe import CellPipe, Mode
from federant.pipe.cell.address import PATH
from federant.provision import FederationKits
from federant.testing.two_ends import LONG, TASK, pass_on, request

HOUR = 3600.0
SHORT = 0.3

NewPipe = Callable[..., CellPipe]
Denials = Callable[[], str]


@contextmanager
def relay_of(kit: Kit, greeting_seconds: float) -> Iterator[str]:
    admission = Admission("site-1", kit)
    relay = RelayThread("site-1", "127.0.0.1", 0, admission, admission.context(), greeting_seconds)
    try:
        yield f"https://127.0.0.1:{relay.port}"
    finally:
        relay.stop()


@pytest.fixture
def agent_kit(kits: FederationKits) -> Kit:
    return kits.agents["site-1.gpu-7"]


@pytest.fixture
def meet(new_cell_pipe: NewPipe, kits: FederationKits) -> Callable[[str], None]:
    """``meet(url)``: another agent and its client job find each other there."""

    def serve(url: str) -> None:
        agent = new_cell_pipe(Mode.ACTIVE, url, kits.agents["site-1.gpu-8"], token="gpu-8")
        job = new_cell_pipe(Mode.PASSIVE, url, kits.sites["site-1"], token="gpu-8")
        agent.open(TASK)
        job.open(TASK)
        assert pass_on(agent, job, request(1)).data["number"] == 1
        agent.close()
        job.close()

    return serve


def dialled(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), LONG)


def context_of(kit: Kit) -> ssl.SSLContext:
    context = client_context(kit)
    context.check_hostname = False
    return context


def secured(url: str, kit: Kit) -> ssl.SSLSocket:
    return context_of(kit).wrap_socket(dialled(url))


def web_socket(url: str, kit: Kit | None = None) -> ClientConnection:
    return connect(
        url.replace("http", "ws", 1) + PATH,
        ssl=context_of(kit) if kit else None,
        subprotocols=[words.SUBPROTOCOL],
        compression=None,
        proxy=None,
        open_timeout=LONG,
        ping_interval=None,
        max_size=None,
    )


def assert_hung_up(connection: socket.socket) -> None:
    with suppress(ConnectionResetError, ssl.SSLError):
        while connection.recv(4096):
            pass


def test_of_too_many_that_do_not_shake_hands_the_oldest_has_to_go(
    kits: FederationKits, meet: Callable[[str], None]
) -> None:
    with relay_of(kits.sites["site-1"], HOUR) as url, ExitStack() as open_ones:
        first, *_ = [open_ones.enter_context(dialled(url)) for _ in range(MOST_NEWCOMERS + 1)]
        assert_hung_up(first)
        meet(url)


def test_of_too_many_that_ask_for_nothing_the_oldest_has_to_go(
    kits: FederationKits, agent_kit: Kit, meet: Callable[[str], None]
) -> None:
    with relay_of(kits.sites["site-1"], HOUR) as url, ExitStack() as open_ones:
        first = open_ones.enter_context(secured(url, agent_kit))
        for _ in range(MOST_NEWCOMERS):
            open_ones.enter_context(dialled(url))
        assert_hung_up(first)
        meet(url)


def test_who_has_joined_is_no_newcomer(
    kits: FederationKits, agent_kit: Kit, new_cell_pipe: NewPipe
) -> None:
    with relay_of(kits.sites["site-1"], HOUR) as url, ExitStack() as open_ones:
        agent = new_cell_pipe(Mode.ACTIVE, url, agent_kit, token="gpu-7")
        job = new_cell_pipe(Mode.PASSIVE, url, kits.sites["site-1"], token="gpu-7")
        agent.open(TASK)
        job.open(TASK)
        pass_on(agent, job, request(1))
        for _ in range(2 * MOST_NEWCOMERS):
            open_ones.enter_context(dialled(url))
        assert pass_on(job, agent, request(2)).data["number"] == 2
        agent.close()
        job.close()


@pytest.mark.parametrize("said", [b"", b"GET /cell HTTP/1.1\r\nHost: x\r\nA: b"])
def test_who_does_not_come_to_the_point_is_hung_up_on(
    kits: FederationKits, agent_kit: Kit, said: bytes
) -> None:
    with relay_of(kits.sites["site-1"], SHORT) as url:
        with dialled(url) as silent:
            assert_hung_up(silent)
        with suppress(OSError), secured(url, agent_kit) as slow:
            slow.sendall(said)
            assert_hung_up(slow)


def test_a_request_without_an_end_is_cut(
    tls_relay: str, agent_kit: Kit, denials: Denials, meet: Callable[[str], None]
) -> None:
    line = b"X: " + bytes(1000).replace(b"\0", b"a") + b"\r\n"
    lines = line * (MAX_HEAD_BYTES // len(line) + 2)
    with secured(tls_relay, agent_kit) as endless:
        with suppress(OSError):
            endless.sendall(b"GET /cell HTTP/1.1\r\n" + lines)
        assert_hung_up(endless)
    meet(tls_relay)
    assert f"a request of more than {MAX_HEAD_BYTES} bytes" in denials()


def test_what_is_no_request_is_told_in_one_line(
    tls_relay: str, agent_kit: Kit, denials: Denials, caplog: pytest.LogCaptureFixture
) -> None:
    with secured(tls_relay, agent_kit) as other:
        other.sendall(b"EHLO mail.example\r\n\r\n")
        assert_hung_up(other)
    deadline = time.monotonic() + LONG
    while "no request for a WebSocket came" not in denials():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert all(record.exc_info is None for record in caplog.records)


def test_with_one_certificate_there_are_so_many_connections_and_others_come_in_all_the_same(
    tls_relay: str, agent_kit: Kit, denials: Denials, meet: Callable[[str], None]
) -> None:
    with ExitStack() as open_ones:
        for _ in range(MOST_OF_AGENT):
            open_ones.enter_context(web_socket(tls_relay, agent_kit))
        with pytest.raises(InvalidStatus) as refused:
            web_socket(tls_relay, agent_kit)
        meet(tls_relay)
    assert refused.value.response.status_code == 429
    wanted = f"there are {MOST_OF_AGENT} connections with that certificate, which is the most"
    assert wanted in bytes(refused.value.response.body or b"").decode()
    assert wanted in denials()


def test_all_together_take_half_of_the_descriptors_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (2, 2))
    guests = Guests()
    monkeypatch.undo()

    class One:
        serial = ""

    for guest in (One(), One()):
        guests.came(guest)  # type: ignore[arg-type]
    assert guests.refusal(guest, MOST_OF_AGENT).startswith("there are 1 connections, half of")  # type: ignore[arg-type]
    guests.left(guest)  # type: ignore[arg-type]
    assert guests.refusal(guest, MOST_OF_AGENT) == ""  # type: ignore[arg-type]


def join_of(fqcn: str) -> str:
    return words.to_text(words.Join(fqcn, TASK, "i", "host", 1, 0.0, ""))


def test_a_message_that_is_too_large_ends_its_connection_and_no_other(
    tls_relay: str, agent_kit: Kit, meet: Callable[[str], None]
) -> None:
    with web_socket(tls_relay, agent_kit) as hostile:
        hostile.send(join_of("site-1.gpu-7.agent"))
        assert isinstance(words.from_text(str(hostile.recv(LONG))), words.Joined)
        with suppress(ConnectionClosed):
            hostile.send(bytes(MESSAGE_BYTES + 1))
        with pytest.raises(ConnectionClosed) as closed:
            hostile.recv(LONG)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    meet(tls_relay)


def test_a_message_of_endless_parts_ends_its_connection_and_no_other(
    tls_relay: str, agent_kit: Kit, meet: Callable[[str], None]
) -> None:
    def parts() -> Iterator[bytes]:
        while True:
            yield b""

    with web_socket(tls_relay, agent_kit) as hostile:
        hostile.send(join_of("site-1.gpu-7.agent"))
        hostile.recv(LONG)
        with pytest.raises(ConnectionClosed):
            hostile.send(parts())
    meet(tls_relay)


def test_answers_that_nobody_asked_for_pile_up_nowhere(
    tls_relay: str, agent_kit: Kit, new_cell_pipe: NewPipe
) -> None:
    """And do not count: the one that has the name is asked when another wants it."""
    with web_socket(tls_relay, agent_kit) as talker:
        talker.send(join_of("site-1.gpu-7.agent"))
        talker.recv(LONG)
        for _ in range(100):
            talker.send(words.to_text(words.Holding(alive=True)))
        with web_socket(tls_relay, agent_kit) as second:
            second.send(join_of("site-1.gpu-7.agent").replace('"i"', '"j"'))
            while not isinstance(words.from_text(str(talker.recv(LONG))), words.Claim):
                pass
            talker.send(words.to_text(words.Holding(alive=False)))
            talker.close()
            assert isinstance(words.from_text(str(second.recv(LONG))), words.Joined)


ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
JOIN = json.loads(join_of("site-1.gpu-7.agent"))


@given(st.text(max_size=5000))
def test_words_are_read_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        words.from_text(text)


@settings(max_examples=200)
@given(st.sampled_from(sorted(JOIN)), ANY_VALUE)
def test_a_join_with_one_thing_wrong_is_read_or_a_value_error(name: str, value: object) -> None:
    with suppress(ValueError):
        said = words.from_text(json.dumps({**JOIN, name: value}))
        assert isinstance(said, words.Join)
        assert words.from_text(words.to_text(said)) == said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("since", float("inf")),
        ("since", float("nan")),
        ("since", 1e300),
        ("pid", -1),
        ("pid", 1 << 40),
        ("host", "a\nb"),
        ("channel", "\ud800"),
        ("instance", "x" * 201),
    ],
)
def test_a_join_says_nothing_that_could_not_be_shown(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="a join message"):
        words.from_text(json.dumps({**JOIN, name: value}))


@pytest.mark.parametrize("meeting", [0, -1, 1 << 64])
def test_a_meeting_has_a_number_that_fits(meeting: int) -> None:
    with pytest.raises(ValueError, match="a met message has the number"):
        words.from_text(json.dumps({"kind": "met", "instance": "i", "meeting": meeting}))


HOSTILE = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@HOSTILE
@given(st.binary(max_size=2000))
def test_no_bytes_bring_a_relay_down(plain_relay: str, junk: bytes) -> None:
    with dialled(plain_relay) as hostile:
        with suppress(OSError):
            hostile.sendall(junk)
            hostile.shutdown(socket.SHUT_WR)
        assert_hung_up(hostile)


@HOSTILE
@given(st.lists(st.text(max_size=200) | st.binary(max_size=200), min_size=1, max_size=4))
def test_no_messages_bring_a_relay_down(plain_relay: str, junk: list[str | bytes]) -> None:
    with web_socket(plain_relay) as hostile, suppress(ConnectionClosed):
        for message in junk:
            hostile.send(
                message.encode(errors="replace").decode() if isinstance(message, str) else message
            )
        said = words.from_text(str(hostile.recv(LONG)))
        assert isinstance(said, words.Refused)
        assert said.code == words.Refusal.PROTOCOL
