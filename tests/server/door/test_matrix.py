"""Who is not let in: each is told why by name, and is a line in the server's log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import urllib3

from federant.link import LinkClient, LinkRefused
from federant.link.identity import Identity, Role
from federant.link.kit import Kit
from federant.link.messages import ErrorCode
from federant.link.operator import connect
from federant.link.tls import LinkTlsError, TlsProblem
from federant.provision import FederationKits
from federant.server.routes.services import Services
from federant.testing.certificates import Odd

Denials = Callable[[], str]
ServingTls = Callable[..., AbstractContextManager[str]]
OddKit = Callable[..., Kit]

SITE_1 = Identity("test", Role.SITE, "site-1")


def refusal_of(url: str, kit: Kit | None, site: str = "site-1") -> LinkTlsError | LinkRefused:
    with (
        LinkClient(url, site, kit=kit) as client,
        pytest.raises((LinkTlsError, LinkRefused)) as caught,
    ):
        client.hello("place-1")
    return caught.value


def test_a_site_with_its_own_kit_is_let_in(url: str, kits: FederationKits) -> None:
    with LinkClient(url, "site-1", kit=kits.sites["site-1"]) as client:
        assert client.hello("place-1").server_id == "s-test"


def test_an_operator_with_a_kit_is_let_in(url: str, kits: FederationKits) -> None:
    with connect(url, kit=kits.operators["alice"].folder) as federation:
        assert federation.sites() == ()


@pytest.mark.parametrize(
    ("wrong", "problem", "logged"),
    [
        (Odd.EXPIRED, TlsProblem.OWN_EXPIRED, "certificate has expired"),
        (Odd.NOT_YET_VALID, TlsProblem.OWN_REFUSED, "certificate is not yet valid"),
        (Odd.OTHER_AUTHORITY, TlsProblem.OWN_UNKNOWN, "certificate"),
    ],
)
def test_a_certificate_that_is_not_good_is_refused_by_tls(
    url: str, odd: OddKit, denials: Denials, wrong: Odd, problem: TlsProblem, logged: str
) -> None:
    error = refusal_of(url, odd(SITE_1, wrong))
    assert isinstance(error, LinkTlsError)
    assert error.problem is problem
    assert logged in denials()


@pytest.mark.parametrize("wrong", [Odd.OTHER_FEDERATION, Odd.NO_IDENTITY, Odd.TWO_IDENTITIES])
def test_a_good_certificate_that_names_nobody_here_is_refused(
    url: str, odd: OddKit, denials: Denials, wrong: Odd
) -> None:
    error = refusal_of(url, odd(SITE_1, wrong))
    assert isinstance(error, LinkRefused)
    assert error.code == ErrorCode.WRONG_IDENTITY
    assert "names nobody of the federation test" in denials()


def test_who_shows_no_certificate_is_refused_in_words(
    url: str, kits: FederationKits, denials: Denials
) -> None:
    with urllib3.PoolManager(retries=False, ca_certs=str(kits.server.authority)) as http:
        reply = http.request("POST", f"{url}/link/v1/hello", json={})
    assert (reply.status, reply.json()["code"]) == (401, ErrorCode.NO_CERTIFICATE)
    assert "who='nobody known'" in denials()
    assert "'/link/v1/hello' code=no_certificate" in denials()


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_a_stranger_may_ask_for_the_health(
    url: str, kits: FederationKits, services: Services, path: str
) -> None:
    with urllib3.PoolManager(retries=False, ca_certs=str(kits.server.authority)) as http:
        assert http.request("GET", url + path).status == 200


def test_a_site_may_not_act_as_another(url: str, kits: FederationKits, denials: Denials) -> None:
    error = refusal_of(url, kits.sites["site-1"], site="site-2")
    assert isinstance(error, LinkRefused)
    assert error.code == ErrorCode.WRONG_IDENTITY
    assert "site site-1 may not act as site site-2" in str(error)
    assert "who='site site-1 (serial " in denials()


def test_an_agents_kit_is_no_sites(url: str, kits: FederationKits, denials: Denials) -> None:
    error = refusal_of(url, kits.agents["site-1.gpu-7"])
    assert isinstance(error, LinkRefused)
    assert error.code == ErrorCode.WRONG_IDENTITY
    assert "the caller is agent gpu-7 of site site-1" in denials()


def test_a_site_is_no_operator(url: str, kits: FederationKits, denials: Denials) -> None:
    with (
        connect(url, kit=kits.sites["site-1"].folder) as federation,
        pytest.raises(LinkRefused) as caught,
    ):
        federation.sites()
    assert caught.value.code == ErrorCode.WRONG_IDENTITY
    assert "is for operators only" in denials()


@pytest.mark.parametrize(
    ("wrong", "hosts", "problem"),
    [
        (Odd.EXPIRED, ["localhost"], TlsProblem.PEER_EXPIRED),
        (Odd.NOT_YET_VALID, ["localhost"], TlsProblem.PEER_NOT_YET_VALID),
        (Odd.OTHER_AUTHORITY, ["localhost"], TlsProblem.PEER_UNKNOWN),
        (None, ["elsewhere.example"], TlsProblem.PEER_NAME),
        (Odd.OTHER_FEDERATION, ["localhost"], TlsProblem.PEER_NAME),
    ],
)
def test_a_server_whose_certificate_is_not_good_is_not_told_anything(
    serving_tls: ServingTls,
    services: Services,
    kits: FederationKits,
    odd: OddKit,
    wrong: Odd | None,
    hosts: list[str],
    problem: TlsProblem,
) -> None:
    server = odd(kits.server.identity, wrong, hosts=hosts)
    with serving_tls(services, server) as url:
        error = refusal_of(url, kits.sites["site-1"])
    assert isinstance(error, LinkTlsError)
    assert error.problem is problem


def test_a_site_that_answers_in_the_servers_place_is_not_told_anything(
    serving_tls: ServingTls, services: Services, kits: FederationKits, odd: OddKit
) -> None:
    with serving_tls(services, odd(SITE_1, hosts=["localhost"])) as url:
        error = refusal_of(url, kits.sites["site-2"])
    assert isinstance(error, LinkTlsError)
    assert error.problem is TlsProblem.PEER_NAME
    assert "what answers there is site site-1, not the server of test" in str(error)


def test_plain_http_to_a_port_that_speaks_tls_is_refused(url: str, denials: Denials) -> None:
    plain = url.replace("https://localhost", "http://127.0.0.1")
    error = refusal_of(plain, kit=None)
    assert isinstance(error, LinkTlsError)
    assert error.problem is TlsProblem.ONLY_TLS
    assert "HTTP_REQUEST" in denials()


def test_tls_to_a_port_that_speaks_plain_http_is_refused(
    server_url: str, kits: FederationKits, denials: Denials
) -> None:
    secure = server_url.replace("http://127.0.0.1", "https://localhost")
    error = refusal_of(secure, kits.sites["site-1"])
    assert isinstance(error, LinkTlsError)
    assert error.problem is TlsProblem.NO_TLS
    assert "it may speak TLS" in denials()
