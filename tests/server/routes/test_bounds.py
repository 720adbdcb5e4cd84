"""What is too large for one message or for the disk, and a transfer that was cut."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from typing import Any

import pytest

from federant.link import HttpCaller, LinkClient, LinkUnavailable, blob_ref
from federant.link.messages import (
    MAX_MESSAGE_BYTES,
    MAX_TEXT_CHARS,
    SITE_HEADER,
    VERSION_HEADER,
    ErrorCode,
    Event,
    SiteState,
)
from federant.link.operator_messages import MetricsReply
from federant.server.routes.services import Services
from federant.server.state import JobRow, Store


def test_a_transfer_whose_sender_dies_can_be_gone_on_with(
    server_url: str, link: Callable[[str], LinkClient]
) -> None:
    data = b"x" * 3_000_000
    blob = blob_ref([data])
    host, port = server_url.removeprefix("http://").split(":")
    head = (
        f"PUT /link/v1/blobs/{blob.digest}?size={blob.size} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"{SITE_HEADER}: site-1\r\n{VERSION_HEADER}: 1\r\ncontent-length: {blob.size}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as dying:
        dying.sendall(head.encode() + data[:2_000_000])
    client = link("site-1")
    offsets: list[int] = []

    def chunks(offset: int) -> list[bytes]:
        offsets.append(offset)
        return [data[offset:]]

    while not client.missing_blobs([blob])[0].offset:
        pass
    client.put_blob(blob, chunks)
    assert 0 < offsets[0] <= 2_000_000
    assert client.missing_blobs([blob]) == ()


def _answered(url: str, request: str, body: bytes = b"") -> tuple[int, Any]:
    """The answer to a request whose body never ends; it comes while the server still reads."""
    host, port = url.removeprefix("http://").split(":")
    head = (
        f"{request} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"{SITE_HEADER}: site-1\r\n{VERSION_HEADER}: 1\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        reply = b""
        while not reply.endswith(b"}"):
            reply += connection.recv(65536)
    return int(reply.split()[1]), json.loads(reply[reply.index(b"{") :])


@pytest.mark.parametrize("path", ["/link/v1/jobs/j/events", "/link/v1/hello", "/api/v1/jobs"])
@pytest.mark.parametrize("announced", [True, False])
def test_a_message_that_is_too_large_is_refused_while_it_is_read(
    server_url: str, path: str, announced: bool
) -> None:
    if announced:
        body = f"content-length: {MAX_MESSAGE_BYTES + 1}\r\n\r\n".encode()
    else:
        body = b"transfer-encoding: chunked\r\n\r\n"
        body += f"{MAX_MESSAGE_BYTES + 1:x}\r\n".encode() + b" " * (MAX_MESSAGE_BYTES + 1)
    status, answer = _answered(server_url, f"POST {path}", body)
    assert (status, answer["code"]) == (413, ErrorCode.TOO_LARGE)
    assert f"one may have {MAX_MESSAGE_BYTES}; send less at once" in answer["message"]


@pytest.mark.parametrize("text", ["x", "\N{FIRE}", "\0"])
def test_events_that_no_message_could_hold_arrive_in_several(
    link: Callable[[str], LinkClient],
    store: Store,
    submit: Callable[..., JobRow],
    text: str,
) -> None:
    job = submit(store, "site-1")
    long = text * MAX_TEXT_CHARS
    link("site-1").add_events(job.id, [Event(id=f"{n}", kind="T", text=long) for n in range(500)])
    arrived = store.events(job.id)
    assert [event.id for event in arrived] == [f"{n}" for n in range(500)]
    assert {event.text for event in arrived} == {long}


def test_many_short_events_arrive_in_several_messages(
    link: Callable[[str], LinkClient], store: Store, submit: Callable[..., JobRow]
) -> None:
    job = submit(store, "site-1")
    link("site-1").add_events(job.id, [Event(id=f"{n}", kind="T") for n in range(40_000)])
    assert len(store.events(job.id, limit=50_000)) == 40_000


def test_a_site_that_logs_more_than_it_may_is_not_refused(
    services: Services,
    serving: Callable[[Services], AbstractContextManager[str]],
    store: Store,
    submit: Callable[..., JobRow],
) -> None:
    job = submit(store, "site-1")
    logged = [Event(id=f"{n}", kind="METRIC", tag="loss", value=1.0) for n in range(9)]
    with (
        serving(replace(services, most_events=4)) as url,
        LinkClient(url, "site-1") as site,
        closing(HttpCaller(url)) as operator,
    ):
        site.add_events(job.id, logged)
        site.add_events(job.id, [Event(id="n", kind="METRIC", tag="loss", value=1.0)])
        said = operator.call("GET", f"/api/v1/jobs/{job.id}/metrics", MetricsReply)
    assert said.dropped == {"site-1": 6}
    assert [(row.site, row.count) for row in said.metrics] == [("site-1", 4)]


def test_of_a_sites_long_text_about_a_job_the_end_is_told(
    link: Callable[[str], LinkClient], store: Store, submit: Callable[..., JobRow]
) -> None:
    job = submit(store, "site-1")
    link("site-1").report_site_state(job.id, SiteState.FAILED, "x" * MAX_TEXT_CHARS + "the end")
    text = store.job_sites(job.id)[0].text
    assert (len(text), text[-7:]) == (MAX_TEXT_CHARS, "the end")


def test_a_blob_for_which_there_is_no_space_is_refused_before_it_is_read(
    server_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage("/")._replace(free=999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    put = f"PUT /link/v1/blobs/{'a' * 64}?size=1000"
    status, answer = _answered(server_url, put, b"content-length: 1000\r\n\r\n")
    assert (status, answer["code"]) == (507, ErrorCode.NO_SPACE)
    assert "no space for 1000 more bytes" in answer["message"]
    assert "999 bytes left; make room on it" in answer["message"]


def test_a_sender_for_whose_blob_there_is_no_space_does_not_send_all_of_it(
    link: Callable[[str], LinkClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage("/")._replace(free=999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    chunk = bytes(1 << 20)
    count = 0

    def chunks(_offset: int) -> Iterator[bytes]:
        nonlocal count
        for count in range(200):  # noqa: B007 - read after the loop
            yield chunk

    blob = blob_ref(chunk for _ in range(200))
    with pytest.raises(LinkUnavailable, match="make room on it"):
        link("site-1").put_blob(blob, chunks)
    assert count < 199


@pytest.mark.parametrize(
    "call",
    [
        f"GET /api/v1/jobs/j/events/{1 << 63}/blob",
        f"GET /api/v1/jobs/j/events?after={1 << 63}",
        f"PUT /link/v1/blobs/{'a' * 64}?size={1 << 63}",
    ],
    ids=["event", "after", "size"],
)
def test_a_number_that_no_database_holds_is_refused(server_url: str, call: str) -> None:
    status, answer = _answered(server_url, call, b"\r\n")
    assert (status, answer["code"]) == (400, ErrorCode.BAD_REQUEST)
