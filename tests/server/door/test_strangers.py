"""What a stranger, who has no certificate, can do to a server by TLS: ask for its health."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

import pytest
import uvloop

from federant.link import LinkClient
from federant.link.tls import client_context, server_context
from federant.provision import FederationKits
from federant.server.door.accepting import MAX_HANDSHAKES, TlsAcceptor
from federant.server.door.request_bounds import MAX_HEAD_BYTES, MAX_STRANGERS
from federant.server.routes.services import Services
from federant.server.serving import listen, url_of

Denials = Callable[[], str]
ServingTls = Callable[..., AbstractContextManager[str]]

PATIENCE = 60.0
HOUR = 3600.0
FAR_TOO_MUCH = 64 << 20
HEALTH = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n"


@contextmanager
def dialled(url: str) -> Iterator[socket.socket]:
    """A bare connection."""
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        yield connection


@contextmanager
def stranger(url: str, kits: FederationKits) -> Iterator[ssl.SSLSocket]:
    """A connection by TLS of one who shows no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(kits.server.authority)
    with (
        dialled(url) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as secure,
    ):
        yield secure


def all_of(connection: socket.socket) -> bytes:
    """What comes until the other side hangs up."""
    found = b""
    with suppress(ConnectionError, ssl.SSLError):
        while part := connection.recv(1 << 16):
            found += part
    return found


def hung_up_on(connection: socket.socket, block: bytes) -> bool:
    """Whether somebody who sends this over and over is stopped before it is far too much."""
    try:
        for _ in range(FAR_TOO_MUCH // len(block)):
            connection.sendall(block)
    except (ConnectionError, ssl.SSLError):
        return True
    return False


@pytest.mark.parametrize(
    ("begin", "block"),
    [
        pytest.param(b"GET /", b"a" * (1 << 16), id="address"),
        pytest.param(HEALTH + b"x: ", b"a" * (1 << 16), id="one header"),
        pytest.param(HEALTH, b"a: b\r\n" * 10_000, id="many headers"),
        pytest.param(
            HEALTH.replace(b"GET", b"POST") + b"transfer-encoding: chunked\r\n\r\n0\r\n",
            b"a: b\r\n" * 10_000,
            id="trailers",
        ),
    ],
)
def test_a_request_that_goes_on_for_ever_is_not_kept_in_memory(
    url: str, kits: FederationKits, begin: bytes, block: bytes
) -> None:
    with stranger(url, kits) as connection:
        connection.sendall(begin)
        assert hung_up_on(connection, block)


def test_headers_as_large_as_any_sensible_ones_are_taken(url: str, kits: FederationKits) -> None:
    with stranger(url, kits) as connection:
        connection.sendall(HEALTH + b"x: " + b"a" * (MAX_HEAD_BYTES // 2) + b"\r\n\r\n")
        assert all_of(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("said", [b"", b"GET /health", b"\r\n"], ids=["nothing", "half", "empty"])
def test_who_does_not_come_to_the_point_is_hung_up_on(
    serving_tls: ServingTls, services: Services, kits: FederationKits, denials: Denials, said: bytes
) -> None:
    with (
        serving_tls(services, head_seconds=0.2) as url,
        stranger(url, kits) as connection,
    ):
        # Who is slow to speak may be late even for this.
        with suppress(ConnectionError, ssl.SSLError):
            connection.sendall(said)
        assert all_of(connection) == b""
        assert "no request within 0.2 s" in denials()


def test_a_stranger_has_one_answer_a_connection(url: str, kits: FederationKits) -> None:
    with stranger(url, kits) as connection:
        connection.sendall(HEALTH + b"\r\n")
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer


def test_many_strangers_do_not_keep_a_site_out(
    serving_tls: ServingTls, services: Services, kits: FederationKits
) -> None:
    with serving_tls(services, head_seconds=HOUR) as url, ExitStack() as stack:
        first, *_ = [stack.enter_context(stranger(url, kits)) for _ in range(MAX_STRANGERS + 1)]
        assert all_of(first) == b""  # the oldest had to go
        with LinkClient(url, "site-1", kit=kits.sites["site-1"]) as client:
            assert client.hello("place-1").server_id == "s-test"


def test_of_too_many_handshakes_that_do_not_end_the_oldest_has_to_go(
    kits: FederationKits,
) -> None:
    async def dial_in_vain(listening: socket.socket) -> bytes:
        acceptor = TlsAcceptor(server_context(kits.server), asyncio.Protocol, HOUR)
        accepting = asyncio.create_task(acceptor.accept(listening))
        with ExitStack() as stack:
            url = url_of(listening)
            first, *_ = [stack.enter_context(dialled(url)) for _ in range(MAX_HANDSHAKES + 1)]
            found = await asyncio.to_thread(all_of, first)
        accepting.cancel()
        await asyncio.wait([accepting])
        return found

    with listen("127.0.0.1", 0, secure=True) as listening:
        assert uvloop.run(dial_in_vain(listening)) == b""


def test_each_connection_shows_its_certificate_anew(url: str, kits: FederationKits) -> None:
    context = client_context(kits.sites["site-1"])
    with dialled(url) as one, context.wrap_socket(one, server_hostname="localhost") as first:
        first.sendall(HEALTH + b"connection: close\r\n\r\n")
        assert all_of(first).startswith(b"HTTP/1.1 200")
        session = first.session
    with (
        dialled(url) as two,
        context.wrap_socket(two, server_hostname="localhost", session=session) as second,
    ):
        assert not second.session_reused


def test_nobody_can_write_into_the_log_from_where_the_call_comes(
    url: str, kits: FederationKits, denials: Denials
) -> None:
    with stranger(url, kits) as connection:
        connection.sendall(
            b"GET /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\n"
            b"x-forwarded-for: 203.0.113.7\r\nx-forwarded-proto: http\r\n\r\n"
        )
        assert all_of(connection).startswith(b"HTTP/1.1 401")
    assert "203.0.113.7" not in denials()
    assert "client=127.0.0.1:" in denials()
