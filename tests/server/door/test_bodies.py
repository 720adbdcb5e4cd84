"""Large bodies that the parser does not see: what comes before, behind and instead of them."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from http.client import HTTPResponse

import pytest

from federant.link import BlobRef, blob_ref
from federant.link.kit import Kit
from federant.link.messages import LINK_PREFIX, SITE_HEADER, VERSION, VERSION_HEADER
from federant.link.tls import client_context
from federant.provision import FederationKits
from federant.server.blobs import FolderBlobs
from federant.server.door.bodies import BLOCK_BYTES
from federant.server.routes.services import Services

ServingTls = Callable[..., AbstractContextManager[str]]

DATA = random.Random(0).randbytes(5_000_000)
BLOB = blob_ref([DATA])
LONG = 60.0


@contextmanager
def connected(url: str, kit: Kit) -> Iterator[socket.socket]:
    port = int(url.rsplit(":", 1)[1])
    context = client_context(kit)
    with (
        socket.create_connection(("127.0.0.1", port), LONG) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        yield connection


@pytest.fixture
def connection(url: str, kits: FederationKits) -> Iterator[socket.socket]:
    with connected(url, kits.sites["site-1"]) as connection:
        yield connection


def put(blob: BlobRef, *lines: str) -> bytes:
    """The head of a request."""
    path = f"{LINK_PREFIX}/blobs/{blob.digest}?size={blob.size}"
    common = [f"{VERSION_HEADER}: {VERSION}", f"{SITE_HEADER}: site-1", "host: localhost"]
    return "\r\n".join([f"PUT {path} HTTP/1.1", *common, *lines, "", ""]).encode()


def length(size: int) -> str:
    return f"content-length: {size}"


def status(connection: socket.socket) -> int:
    """Of the next answer, which is read to its end."""
    with HTTPResponse(connection) as answer:
        answer.begin()
        answer.read()
        return answer.status


def kept(blobs: FolderBlobs, blob: BlobRef) -> bytes:
    return blobs.path(blob.digest).read_bytes()


def test_a_large_body_is_taken_in_blocks(connection: socket.socket, blobs: FolderBlobs) -> None:
    connection.sendall(put(BLOB, length(BLOB.size)) + DATA)
    assert status(connection) == 200
    assert kept(blobs, BLOB) == DATA


def test_what_follows_a_large_body_at_once_is_the_next_request(
    connection: socket.socket, blobs: FolderBlobs
) -> None:
    other = DATA[:2_000_000]
    both = [(BLOB, DATA), (blob_ref([other]), other)]
    # In one go, so that one record has the end of the first and the begin of the second.
    connection.sendall(b"".join(put(blob, length(blob.size)) + data for blob, data in both))
    assert [status(connection), status(connection)] == [200, 200]
    assert [kept(blobs, blob) for blob, _ in both] == [DATA, other]


def test_who_waits_to_be_asked_for_a_large_body_is_asked(
    connection: socket.socket, blobs: FolderBlobs
) -> None:
    connection.sendall(put(BLOB, length(BLOB.size), "expect: 100-continue"))
    asked = b"HTTP/1.1 100 Continue\r\n\r\n"
    there = b""
    while len(there) < len(asked):
        there += connection.recv(len(asked) - len(there))
    assert there == asked
    connection.sendall(DATA)
    assert status(connection) == 200
    assert kept(blobs, BLOB) == DATA


def test_a_large_body_of_no_announced_length_is_taken_too(
    connection: socket.socket, blobs: FolderBlobs
) -> None:
    pieces = (DATA[at : at + 700_000] for at in range(0, len(DATA), 700_000))
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    connection.sendall(put(BLOB, "transfer-encoding: chunked") + body)
    assert status(connection) == 200
    assert kept(blobs, BLOB) == DATA


def test_the_rest_of_a_body_that_is_refused_on_its_way_is_no_request(
    connection: socket.socket, blobs: FolderBlobs
) -> None:
    short = BlobRef(digest=BLOB.digest, size=2_000_000)
    connection.sendall(put(short, length(BLOB.size)) + DATA)
    assert status(connection) == 400
    connection.sendall(put(BLOB, length(BLOB.size)) + DATA)
    assert status(connection) == 200
    assert kept(blobs, BLOB) == DATA


def test_what_came_of_a_large_body_before_a_silence_is_kept(
    serving_tls: ServingTls, kits: FederationKits, services: Services, blobs: FolderBlobs
) -> None:
    sent = DATA[:3_300_000]
    with (
        serving_tls(replace(services, stalled_seconds=2.0)) as url,
        connected(url, kits.sites["site-1"]) as connection,
    ):
        connection.sendall(put(BLOB, length(BLOB.size)) + sent)
        assert status(connection) == 409
    assert blobs.offset(BLOB, "site-1") == len(sent)


def test_what_came_of_a_large_body_before_a_cut_is_kept_but_for_a_block_at_most(
    url: str, kits: FederationKits, blobs: FolderBlobs
) -> None:
    sent = DATA[:3_300_000]
    with connected(url, kits.sites["site-1"]) as connection:
        connection.sendall(put(BLOB, length(BLOB.size)) + sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    assert len(sent) - BLOCK_BYTES <= blobs.offset(BLOB, "site-1") <= len(sent)
