"""Kits that are renewed while the server and its sites run: nothing is started again for them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from federant.link import LinkClient, LinkRefused
from federant.link.certificate import read_certificate
from federant.link.kit import Kit
from federant.link.messages import ErrorCode
from federant.link.operator import Federation, connect
from federant.link.tls import LinkTlsError, TlsProblem, client_context
from federant.provision import FederationKits, make_federation, open_federation
from federant.server.routes.services import Services
from federant.testing import ConnectProxy
from federant.testing.certificates import odd_kit

ServingTls = Callable[..., AbstractContextManager[str]]
Renew = Callable[[Kit], None]


@pytest.fixture
def own_kits(tmp_path: Path) -> FederationKits:
    """Such as those of the other tests, for one test alone."""
    return make_federation(tmp_path / "own", sites=["site-1"], operators=["alice"])


@pytest.fixture
def renew(own_kits: FederationKits) -> Renew:
    def do(kit: Kit) -> None:
        with open_federation(own_kits.folder) as federation:
            federation.renew(kit.identity)

    return do


@pytest.fixture
def own_url(serving_tls: ServingTls, services: Services, own_kits: FederationKits) -> Iterator[str]:
    with serving_tls(services, own_kits.server) as url:
        yield url


@pytest.fixture
def operator(own_url: str, own_kits: FederationKits) -> Iterator[Federation]:
    with connect(own_url, kit=own_kits.operators["alice"].folder) as federation:
        yield federation


@pytest.fixture
def site_1(own_url: str, own_kits: FederationKits) -> Iterator[LinkClient]:
    with LinkClient(own_url, "site-1", kit=own_kits.sites["site-1"]) as client:
        client.hello("place-1")
        yield client


def serial_of(kit: Kit) -> str:
    return read_certificate(kit.certificate).serial


def serial_shown_at(url: str, kit: Kit) -> str:
    """Of the certificate that the server shows to who dials it now."""
    pem = ssl.get_server_certificate(("127.0.0.1", int(url.rpartition(":")[2])))
    place = kit.folder.parent / "shown.pem"
    place.write_text(pem)
    return read_certificate(place).serial


def test_a_server_shows_its_renewed_certificate_to_who_dials_next(
    own_url: str, operator: Federation, own_kits: FederationKits, renew: Renew
) -> None:
    before = serial_of(own_kits.server)
    assert serial_shown_at(own_url, own_kits.server) == before
    told = operator.status().certificate
    assert told is not None
    assert told.serial == before
    renew(own_kits.server)
    after = serial_of(own_kits.server)
    assert after != before
    assert serial_shown_at(own_url, own_kits.server) == after
    told = operator.status().certificate
    assert told is not None
    assert told.serial == after


def test_a_connection_outlives_the_renewal_of_the_servers_kit(
    own_url: str, own_kits: FederationKits, renew: Renew
) -> None:
    context = client_context(own_kits.sites["site-1"])
    context.check_hostname = False
    host, port = "127.0.0.1", int(own_url.rpartition(":")[2])
    ask = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with (
        socket.create_connection((host, port), 60.0) as bare,
        context.wrap_socket(bare) as connection,
    ):
        for _ in range(2):
            connection.sendall(ask)
            answer = b""
            while b"live" not in answer:
                part = connection.recv(1 << 16)
                assert part
                answer += part
            renew(own_kits.server)


def test_a_sites_next_call_is_by_its_renewed_certificate(
    operator: Federation, site_1: LinkClient, own_kits: FederationKits, renew: Renew
) -> None:
    kit = own_kits.sites["site-1"]
    first = serial_of(kit)
    renew(kit)
    site_1.hello("place-1")
    (site,) = operator.sites()
    assert [each.serial for each in site.certificates] == [first, serial_of(kit)]


def test_a_sites_next_call_through_a_proxy_too(
    own_url: str,
    operator: Federation,
    own_kits: FederationKits,
    renew: Renew,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = own_url.rpartition(":")[2]
    kit = own_kits.sites["site-1"]
    with ConnectProxy() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        with open_federation(own_kits.folder) as federation:
            federation.renew(own_kits.server.identity, hosts=("localhost", "federation.invalid"))
        with LinkClient(f"https://federation.invalid:{port}", "site-1", kit=kit) as client:
            client.hello("place-1")
            renew(kit)
            client.hello("place-1")
        assert len(proxy.asked) == 2
    (site,) = operator.sites()
    assert site.certificates[-1].serial == serial_of(kit)


def test_an_operators_next_command_is_by_the_renewed_certificate(
    operator: Federation, own_kits: FederationKits, renew: Renew
) -> None:
    kit = own_kits.operators["alice"]
    renew(kit)
    caller = operator.status().caller
    assert caller is not None
    assert caller.serial == serial_of(kit)


def test_a_revoked_site_is_let_in_again_once_its_kit_is_renewed(
    operator: Federation, site_1: LinkClient, own_kits: FederationKits, renew: Renew
) -> None:
    kit = own_kits.sites["site-1"]
    operator.revoke(serial_of(kit))
    with pytest.raises(LinkRefused) as caught:
        site_1.hello("place-1")
    assert caught.value.code == ErrorCode.CERTIFICATE_REVOKED
    renew(kit)
    assert site_1.hello("place-1").server_id == "s-test"


def test_another_authority_takes_over_and_nothing_is_started_again(
    own_url: str, operator: Federation, site_1: LinkClient, own_kits: FederationKits, tmp_path: Path
) -> None:
    left_behind = odd_kit(tmp_path / "odd", own_kits, own_kits.sites["site-1"].identity)
    with open_federation(own_kits.folder) as federation:
        federation.rotate()
        # The sites first, the server last: meanwhile there are certificates of both.
        for kit in (own_kits.sites["site-1"], own_kits.operators["alice"], own_kits.server):
            federation.renew(kit.identity)
            site_1.hello("place-1")
            assert len(operator.sites()) == 1
        federation.retire()
    site_1.hello("place-1")
    caller = operator.status().caller
    assert caller is not None
    assert caller.serial == serial_of(own_kits.operators["alice"])
    # Whoever still has a certificate of the old one is out.
    left_behind.authority.write_bytes(own_kits.server.authority.read_bytes())
    with (
        LinkClient(own_url, "site-1", kit=left_behind) as client,
        pytest.raises(LinkTlsError) as caught,
    ):
        client.hello("place-1")
    assert caught.value.problem is TlsProblem.OWN_UNKNOWN
