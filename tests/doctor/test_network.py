"""What is said of the way to the server, and of what answers there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import federant
from federant.doctor import Finding, Level, Subject, subject_of
from federant.doctor.network import look_at_network
from federant.link.identity import Identity, Role
from federant.provision import FederationKits
from federant.testing import ConnectProxy
from federant.testing.certificates import odd_kit

from .conftest import HOST


def found_by(subject: Subject) -> dict[str, Finding]:
    return {each.check: each for each in look_at_network(subject)}


@pytest.mark.parametrize(
    ("whose", "welcome"),
    [
        ("site", "the server takes site site-1, and speaks link version"),
        ("operator", "the server takes operator alice, and speaks link version"),
        ("server", None),
    ],
)
def test_a_server_that_is_well_is_told_so(
    kits: FederationKits, whose: str, welcome: str | None
) -> None:
    kit = {
        "server": kits.server,
        "site": kits.sites["site-1"],
        "operator": kits.operators["alice"],
    }[whose]
    found = found_by(subject_of(kit=kit.folder))
    assert {each.level for each in found.values()} == {Level.OK}, found
    assert list(found)[:6] == ["proxy", "DNS", "port", "TLS", "server", "clock"]
    assert found["server"].found == f"ready, federant {federant.__version__}"
    if welcome is not None:
        assert found["admission"].found.startswith(welcome)


def test_a_name_that_is_none_is_told(kits: FederationKits) -> None:
    subject = subject_of(kit=kits.sites["site-1"].folder)
    subject.server = "https://nobody..nowhere:8750"
    found = found_by(subject)
    assert list(found) == ["proxy", "DNS"]
    assert "or for a proxy (https_proxy) that knows it" in found["DNS"].advice


def test_a_port_where_nobody_listens_is_told(kits: FederationKits) -> None:
    with ConnectProxy() as gone:
        port = gone.url.rpartition(":")[2]
    subject = subject_of(kit=kits.sites["site-1"].folder)
    subject.server = f"https://localhost:{port}"
    found = found_by(subject)
    assert list(found) == ["proxy", "DNS", "port"]
    assert f"Ask for an opening outward to TCP port {port} of localhost" in found["port"].advice


def test_a_kit_of_another_authority_is_told_by_name(tmp_path: Path, kits: FederationKits) -> None:
    identity = Identity("test", Role.OPERATOR, "bob")
    kit = odd_kit(tmp_path / "odd", kits, identity)
    kit.authority.write_bytes(Path(federant.__file__).with_name("py.typed").read_bytes())
    subject = subject_of(kit=kit.folder)
    assert found_by(subject)["address"].level is Level.PROBLEM


def test_the_way_through_a_proxy_is_tried(
    kits: FederationKits, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = subject_of(kit=kits.sites["site-1"].folder)
    assert subject.server is not None
    subject.server = subject.server.replace("localhost", HOST)
    with ConnectProxy(user="alice", password="s3cret") as proxy:
        url = proxy.url
        monkeypatch.setenv("https_proxy", url.replace("//", "//alice:s3cret@"))
        good = found_by(subject)
        monkeypatch.setenv("https_proxy", url.replace("//", "//alice:wr0ng@"))
        bad = list(look_at_network(subject))
    assert {each.level for each in good.values()} == {Level.OK}, good
    assert f"is reached through {url} (https_proxy), with a name and a password" in (
        good["proxy"].found
    )
    assert "DNS" not in good
    assert bad[-1].level is Level.PROBLEM
    assert "does not take the name and password" in bad[-1].found
    assert "s3cret" not in str(good) + str(bad)
    assert "wr0ng" not in str(bad)


def test_a_variable_that_names_no_proxy_is_told(
    kits: FederationKits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "socks5://proxy:1080")
    subject = subject_of(kit=kits.sites["site-1"].folder)
    subject.server = f"https://{HOST}:8750"
    (found,) = look_at_network(subject)
    assert "spoken to by socks5://" in found.found


# -- what else may answer ----------------------------------------------------------------------

Answering = Callable[..., Subject]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """``answering(200, {...}, ahead=3600)``: somebody at the address without a kit."""
    servers: list[tuple[HTTPServer, threading.Thread]] = []

    def start(status: int, body: object, *, ahead: float = 0.0) -> Subject:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = json.dumps(body).encode()
                self.send_response_only(status)
                self.send_header("date", formatdate(time.time() + ahead, usegmt=True))
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, name="somebody")
        thread.start()
        servers.append((server, thread))
        return Subject(role=Role.SERVER, server=f"http://127.0.0.1:{server.server_port}")

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def health(version: str = federant.__version__) -> dict[str, str]:
    return {"status": "ready", "version": version, "server_id": "s"}


def test_somebody_else_at_the_address_is_told(answering: Answering) -> None:
    found = found_by(answering(404, {"what": "a printer"}))["server"]
    assert found.level is Level.PROBLEM
    assert found.found.endswith("(status 404) is no federant server")


def test_a_server_that_is_not_ready_is_a_warning(answering: Answering) -> None:
    found = found_by(answering(503, {"code": "not_ready", "message": "it drains"}))["server"]
    assert (found.level, found.found) == (Level.WARNING, "not ready: it drains")


def test_another_version_is_a_warning(answering: Answering) -> None:
    found = found_by(answering(200, health("9.9")))["server"]
    assert found.level is Level.WARNING
    assert found.found == f"ready, federant 9.9, and here is federant {federant.__version__}"


@pytest.mark.parametrize(
    ("ahead", "said"), [(3600.0, "behind the server's"), (-3600.0, "ahead of the server's")]
)
def test_clocks_that_differ_are_a_warning(answering: Answering, ahead: float, said: str) -> None:
    found = found_by(answering(200, health(), ahead=ahead))["clock"]
    assert found.level is Level.WARNING
    assert said in found.found
