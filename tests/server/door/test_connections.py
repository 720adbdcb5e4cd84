"""How many connections one certificate may have at a server, so that nobody takes all of them."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import pytest

from federant.link import LinkClient, LinkUnavailable
from federant.link.kit import Kit
from federant.link.tls import client_context
from federant.provision import FederationKits
from federant.server.door.request_bounds import MAX_STRANGERS
from federant.server.routes.services import Services

Denials = Callable[[], str]
ServingTls = Callable[..., AbstractContextManager[str]]

PATIENCE = 60.0
HOUR = 3600.0
ASK = b"POST /link/v1/hello HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"


def opened(url: str, kit: Kit, stack: ExitStack) -> ssl.SSLSocket:
    """A connection that the server has taken: its own part of the handshake is over."""
    bare = stack.enter_context(
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), PATIENCE)
    )
    context = client_context(kit)
    return stack.enter_context(context.wrap_socket(bare, server_hostname="localhost"))


def answer_on(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(ASK)
    found = b""
    while b'"code"' not in found:
        part = connection.recv(1 << 16)
        assert part, found
        found += part
    return found


def test_one_too_many_is_refused_by_name_and_the_others_go_on(
    serving_tls: ServingTls, services: Services, kits: FederationKits, denials: Denials
) -> None:
    mine, other = kits.sites["site-1"], kits.sites["site-2"]
    with serving_tls(services, most_connections=2) as url, ExitStack() as stack:
        first, second = (opened(url, mine, stack) for _ in range(2))
        for connection in (first, second):
            assert b"too_many_connections" not in answer_on(connection)
        with LinkClient(url, "site-1", kit=mine) as link, pytest.raises(LinkUnavailable) as caught:
            link.hello("place-1")
        assert "503 too_many_connections: site site-1 has as many connections" in str(caught.value)
        assert "code=too_many_connections" in denials()
        with LinkClient(url, "site-2", kit=other) as link:
            link.hello("place-2")
        assert b"too_many_connections" not in answer_on(first)


def test_what_is_closed_makes_room(
    serving_tls: ServingTls, services: Services, kits: FederationKits
) -> None:
    with serving_tls(services, most_connections=1) as url:
        with ExitStack() as stack:
            assert b"too_many_connections" not in answer_on(
                opened(url, kits.sites["site-1"], stack)
            )
        # The server hears of the end in its own time.
        deadline = time.monotonic() + PATIENCE
        found = b"too_many_connections"
        while b"too_many_connections" in found:
            assert time.monotonic() < deadline
            with ExitStack() as stack:
                found = answer_on(opened(url, kits.sites["site-1"], stack))


def test_those_that_are_too_many_take_no_more_places_than_strangers_do(
    serving_tls: ServingTls, services: Services, kits: FederationKits
) -> None:
    with (
        serving_tls(services, most_connections=1, head_seconds=HOUR) as url,
        ExitStack() as stack,
    ):
        kept = opened(url, kits.sites["site-1"], stack)
        answer_on(kept)
        surplus = [opened(url, kits.sites["site-1"], stack) for _ in range(MAX_STRANGERS + 1)]
        assert surplus[0].recv(1) == b""  # the oldest of them had to go
        assert b"too_many_connections" not in answer_on(kept)
