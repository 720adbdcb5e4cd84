"""The link's client against a scripted server: addresses, errors, and transfers that are cut."""

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from federant.link import (
    HttpCaller,
    LinkClient,
    LinkConfigError,
    LinkError,
    LinkProtocolError,
    LinkRefused,
    LinkUnavailable,
    blob_ref,
    checked_url,
)
from federant.link.messages import Done

DATA = bytes(range(256)) * 12_000
BLOB = blob_ref([DATA])


class Scripted:
    """A server that gives each connection the next answer, byte for byte, and hangs up."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self._answers: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, name="scripted-server")

    def answer(self, *answers: bytes) -> None:
        self._answers.extend(answers)
        self._thread.start()

    def _run(self) -> None:
        for answer in self._answers:
            connection, _ = self._listening.accept()
            with connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    more = connection.recv(65536)
                    if not more:
                        return
                    request += more
                head, body = request.split(b"\r\n\r\n", 1)
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                while len(body) < length:
                    body += connection.recv(65536)
                self.requests.append(head)
                connection.sendall(answer)

    def close(self) -> None:
        self._listening.close()
        if self._thread.ident is not None:
            self._thread.join(60)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


def _http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("http://127.0.0.1:8750", "http://127.0.0.1:8750"),
        ("http://localhost:8750/", "http://localhost:8750"),
        ("http://127.8.8.8", "http://127.8.8.8:80"),
        ("http://[::1]:8750", "http://[::1]:8750"),
    ],
)
def test_a_loopback_address_may_be_used(url: str, checked: str) -> None:
    assert checked_url(url) == checked


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://192.168.1.7:8750", "plain HTTP would show everything on the way"),
        ("http://hospital.example:8750", "is on another machine"),
        ("http://localhost.evil.example", "is on another machine"),
        ("ftp://127.0.0.1:8750", "is no address of a server"),
        ("127.0.0.1:8750", "is no address of a server"),
        ("", "is no address of a server"),
        ("http://127.0.0.1:99999", "has no valid port"),
        ("http://127.0.0.1:8750/path", "has more than a host and a port"),
        ("http://user@127.0.0.1:8750", "has more than a host and a port"),
    ],
)
def test_any_other_address_is_refused_with_the_reason(url: str, problem: str) -> None:
    with pytest.raises(LinkConfigError, match=problem):
        LinkClient(url, "site-1")


def test_a_server_that_is_not_there_is_worth_another_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with (
        LinkClient(url, "site-1") as client,
        pytest.raises(LinkUnavailable, match=f'no server answers at {url}; is "federant server"'),
    ):
        client.hello("run")


def test_a_server_whose_name_nobody_knows_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **_more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with (
        LinkClient("http://localhost:8750", "site-1") as client,
        pytest.raises(LinkUnavailable, match=r"the name localhost of the server .* is not known"),
    ):
        client.hello("run")


def test_a_server_that_hangs_up_is_worth_another_try(scripted: Scripted) -> None:
    scripted.answer(b"")
    with LinkClient(scripted.url, "site-1") as client, pytest.raises(LinkUnavailable):
        client.hello("run")


def test_a_server_that_does_not_answer_in_time_is_worth_another_try(scripted: Scripted) -> None:
    with (
        LinkClient(scripted.url, "site-1", read_seconds=0.05) as client,
        pytest.raises(LinkUnavailable, match="try again"),
    ):
        client.hello("run")


def test_a_refusal_carries_its_code_its_sentence_and_its_status(scripted: Scripted) -> None:
    scripted.answer(_http(b'{"code":"forbidden","message":"not yours"}', "403 Forbidden"))
    with (
        LinkClient(scripted.url, "site-1") as client,
        pytest.raises(LinkRefused, match="not yours") as caught,
    ):
        client.hello("run")
    assert (caught.value.code, caught.value.status) == ("forbidden", 403)
    assert isinstance(caught.value, LinkError)


def test_a_proxys_own_error_page_is_told_apart(scripted: Scripted) -> None:
    scripted.answer(_http(b"<html>no</html>", "404 Not Found"), _http(b"bad", "502 Bad Gateway"))
    with LinkClient(scripted.url, "site-1") as client:
        with pytest.raises(LinkRefused, match="<html>no</html>") as caught:
            client.hello("run")
        assert caught.value.code == "http_404"
        with pytest.raises(LinkUnavailable, match="failed with 502"):
            client.hello("run")


def test_a_redirect_is_not_followed(scripted: Scripted) -> None:
    scripted.answer(_http(b"", "302 Found"))
    with LinkClient(scripted.url, "site-1") as client, pytest.raises(LinkRefused) as caught:
        client.hello("run")
    assert caught.value.code == "http_302"


@pytest.mark.parametrize("body", [b"", b"hello", b"{}", b'{"version":"x"}'])
def test_an_answer_that_is_no_answer_of_the_link_is_named(scripted: Scripted, body: bytes) -> None:
    scripted.answer(_http(body))
    with (
        LinkClient(scripted.url, "site-1") as client,
        pytest.raises(LinkProtocolError, match="is not what this version of the link says"),
    ):
        client.hello("run")


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "500 Internal Server Error"])
def test_an_answer_that_does_not_end_is_not_kept_in_memory(scripted: Scripted, status: str) -> None:
    scripted.answer(_http(b" " * 1001, status, length=1 << 60))
    with (
        closing(HttpCaller(scripted.url, max_answer_bytes=1000)) as caller,
        pytest.raises(LinkProtocolError, match="answers with more than 1000 bytes"),
    ):
        caller.call("GET", "/", Done)


def test_a_packed_answer_is_not_unpacked(scripted: Scripted) -> None:
    body = gzip.compress(b'{"ok":true}')  # a short one can be very long unpacked
    scripted.answer(_http(body).replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n", 1))
    with (
        closing(HttpCaller(scripted.url)) as caller,
        pytest.raises(LinkProtocolError, match="is not what this version of the link says"),
    ):
        caller.call("GET", "/", Done)


def test_every_call_says_who_calls_and_in_which_version(scripted: Scripted) -> None:
    scripted.answer(_http(b'{"ok":true}'))
    with LinkClient(scripted.url, "site-1") as client:
        client.add_events("j", [])
    assert b"federant-site: site-1" in scripted.requests[0]
    assert b"federant-link: 1" in scripted.requests[0]


def test_reading_a_blob_goes_on_after_a_cut(scripted: Scripted) -> None:
    scripted.answer(
        _http(DATA[:1_300_000], length=len(DATA)),
        _http(DATA[1_300_000:], "206 Partial Content"),
    )
    with LinkClient(scripted.url, "site-1") as client:
        assert client.read_blob(BLOB) == DATA
    assert b"range: bytes=" in scripted.requests[1].lower()


def test_reading_a_blob_gives_up_when_no_byte_comes(scripted: Scripted) -> None:
    scripted.answer(_http(DATA[:10], length=len(DATA)), _http(b"", "503 Service Unavailable"))
    with LinkClient(scripted.url, "site-1") as client, pytest.raises(LinkUnavailable):
        client.read_blob(BLOB)


def test_a_download_that_was_cut_goes_on_when_it_is_called_again(
    scripted: Scripted, tmp_path: Path
) -> None:
    scripted.answer(
        _http(DATA[:1_300_000], length=len(DATA)),
        _http(DATA[1_300_000:], "206 Partial Content"),
    )
    target = tmp_path / "blob"
    with LinkClient(scripted.url, "site-1") as client:
        with pytest.raises(LinkUnavailable):
            client.download_blob(BLOB, target)
        assert not target.exists()
        client.download_blob(BLOB, target)
    assert target.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [target]


def test_bytes_that_are_not_the_blob_are_thrown_away(scripted: Scripted, tmp_path: Path) -> None:
    wrong = bytes(len(DATA))
    scripted.answer(_http(wrong), _http(wrong), _http(DATA + b"x"))
    with LinkClient(scripted.url, "site-1") as client:
        with pytest.raises(LinkProtocolError, match="it was thrown away"):
            client.read_blob(BLOB)
        with pytest.raises(LinkProtocolError, match="it was thrown away"):
            client.download_blob(BLOB, tmp_path / "blob")
        with pytest.raises(LinkProtocolError, match="more than 3072000 bytes"):
            client.read_blob(BLOB)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_ignores_the_part_asked_for_is_named(
    scripted: Scripted, tmp_path: Path
) -> None:
    (tmp_path / "blob.part").write_bytes(DATA[:100])
    scripted.answer(_http(DATA))
    with (
        LinkClient(scripted.url, "site-1") as client,
        pytest.raises(LinkProtocolError, match="answered 200 to a request for a part"),
    ):
        client.download_blob(BLOB, tmp_path / "blob")


def test_putting_a_blob_asks_again_when_its_partial_bytes_went_away(scripted: Scripted) -> None:
    digest = BLOB.digest.encode()
    scripted.answer(
        _http(b'{"missing":[{"digest":"' + digest + b'","offset":500}]}'),
        _http(b'{"code":"blob_offset","message":"only 0 are there"}', "409 Conflict"),
        _http(b'{"missing":[{"digest":"' + digest + b'","offset":0}]}'),
        _http(b'{"ok":true}'),
    )
    offsets: list[int] = []

    def chunks(offset: int) -> list[memoryview]:
        offsets.append(offset)
        return [memoryview(DATA)[offset:]]

    with LinkClient(scripted.url, "site-1") as client:
        client.put_blob(BLOB, chunks)
    assert offsets == [500, 0]


def test_a_caller_can_be_closed_twice() -> None:
    caller = HttpCaller("http://127.0.0.1:1")
    caller.close()
    caller.close()
    with pytest.raises(LinkError):
        caller.call("GET", "/", Done)
