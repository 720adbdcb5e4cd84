"""What the operator is told of the federation: its server, its sites, and their certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import federant
from federant.link import LinkClient
from federant.link.certificate import read_certificate
from federant.link.identity import Identity, Role
from federant.link.kit import Kit
from federant.link.messages import JobState
from federant.link.operator import Federation, connect
from federant.provision import FederationKits
from federant.server.routes.services import Services

OddKit = Callable[..., Kit]


@pytest.fixture
def operator(url: str, kits: FederationKits) -> Iterator[Federation]:
    with connect(url, kit=kits.operators["alice"].folder) as federation:
        yield federation


def test_the_server_tells_of_itself_and_of_its_jobs(operator: Federation) -> None:
    for _ in range(2):
        operator.submit(trainer="digits")
    found = operator.status()
    assert (found.server_id, found.version) == ("s-test", federant.__version__)
    assert found.jobs == {JobState.SUBMITTED: 2}
    assert found.up_seconds >= 0


def test_the_certificates_of_the_server_and_of_the_caller_are_told(
    operator: Federation, kits: FederationKits
) -> None:
    found = operator.status()
    for told, kit in ((found.certificate, kits.server), (found.caller, kits.operators["alice"])):
        assert told is not None
        facts = read_certificate(kit.certificate)
        assert (told.serial, told.expires) == (facts.serial, facts.not_after.timestamp())
        assert told.seconds_left > 0


def test_a_site_is_told_with_the_certificates_with_which_it_called_the_last_one_last(
    url: str, operator: Federation, kits: FederationKits, odd: OddKit
) -> None:
    renewed = odd(Identity("test", Role.SITE, "site-1"))
    for kit in (kits.sites["site-1"], renewed, kits.sites["site-1"]):
        with LinkClient(url, "site-1", kit=kit) as client:
            client.hello("place-1")
    (site,) = operator.status().sites
    assert site.name == "site-1"
    assert [each.serial for each in site.certificates] == [
        read_certificate(kit.certificate).serial for kit in (renewed, kits.sites["site-1"])
    ]
    (again,) = operator.sites()
    assert [each.serial for each in again.certificates] == [
        each.serial for each in site.certificates
    ]


def test_a_certificate_that_was_revoked_is_marked(
    url: str, operator: Federation, kits: FederationKits
) -> None:
    with LinkClient(url, "site-1", kit=kits.sites["site-1"]) as client:
        client.hello("place-1")
    operator.revoke(read_certificate(kits.sites["site-1"].certificate).serial)
    (site,) = operator.status().sites
    assert [each.revoked for each in site.certificates] == [True]


def test_without_tls_there_are_no_certificates(server_url: str, services: Services) -> None:
    services.store.seen_site("site-1", "place-1")
    with connect(server_url) as federation:
        found = federation.status()
    assert (found.certificate, found.caller) == (None, None)
    assert [site.certificates for site in found.sites] == [()]
