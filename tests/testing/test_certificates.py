"""Odd kits are whole kits, each with one thing wrong, which TLS or the identity shows."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from federant.link.certificate import read_certificate
from federant.link.identity import Identity, Role
from federant.link.kit import Kit, load_kit
from federant.provision import FederationKits, make_federation
from federant.testing.certificates import Odd, odd_kit

SITE = Identity("test", Role.SITE, "site-1")


@pytest.fixture
def kits(tmp_path: Path) -> FederationKits:
    return make_federation(tmp_path / "kits", sites=["site-1"])


def shake_hands(server: Kit, client: Kit, name: str = "localhost") -> None:
    """Until both ends have said all; ssl.SSLError if one of them says no."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    dialling, dialled = (
        _context(ssl.PROTOCOL_TLS_CLIENT, client),
        _context(ssl.PROTOCOL_TLS_SERVER, server),
    )
    ends = [
        dialling.wrap_bio(to_client, to_server, server_hostname=name),
        dialled.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue


def _context(protocol: int, kit: Kit) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(kit.authority)
    context.load_cert_chain(kit.certificate, kit.key)
    return context


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (Odd.EXPIRED, "certificate has expired"),
        (Odd.NOT_YET_VALID, "certificate is not yet valid"),
        (Odd.OTHER_AUTHORITY, "(unable to get local issuer|signature failure|self-signed)"),
    ],
)
def test_tls_refuses_it_at_both_ends(
    kits: FederationKits, tmp_path: Path, odd: Odd, told: str
) -> None:
    client = odd_kit(tmp_path / "client", kits, SITE, odd)
    with pytest.raises(ssl.SSLCertVerificationError, match=told):
        shake_hands(kits.server, client)
    server = odd_kit(tmp_path / "server", kits, kits.server.identity, odd, hosts=["localhost"])
    with pytest.raises(ssl.SSLCertVerificationError, match=told):
        shake_hands(server, kits.sites["site-1"])


@pytest.mark.parametrize("odd", [None, Odd.OTHER_FEDERATION, Odd.NO_IDENTITY, Odd.TWO_IDENTITIES])
def test_tls_takes_it_and_its_identity_is_for_others_to_judge(
    kits: FederationKits, tmp_path: Path, odd: Odd | None
) -> None:
    shake_hands(kits.server, odd_kit(tmp_path / "client", kits, SITE, odd))


def test_a_server_of_another_name_is_refused_by_who_dials(
    kits: FederationKits, tmp_path: Path
) -> None:
    server = odd_kit(tmp_path / "odd", kits, kits.server.identity, hosts=["other.example"])
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server, kits.sites["site-1"])
    shake_hands(server, kits.sites["site-1"], "other.example")


@pytest.mark.parametrize("odd", [None, *Odd])
def test_the_kit_itself_is_whole_and_of_the_same_server(
    kits: FederationKits, tmp_path: Path, odd: Odd | None
) -> None:
    moved = kits.at("https://localhost:40123")
    made = odd_kit(tmp_path / "odd", moved, SITE, odd)
    assert load_kit(made.folder) == made
    assert made.identity == SITE
    assert made.server == "https://localhost:40123"


def test_who_is_named_is_as_odd_as_asked(kits: FederationKits, tmp_path: Path) -> None:
    def uris(odd: Odd | None) -> list[str]:
        made = odd_kit(tmp_path / str(odd), kits, SITE, odd)
        certificate = x509.load_pem_x509_certificate(made.certificate.read_bytes())
        return [
            uri
            for extension in certificate.extensions
            if isinstance(extension.value, x509.SubjectAlternativeName)
            for uri in extension.value.get_values_for_type(x509.UniformResourceIdentifier)
        ]

    assert uris(None) == [str(SITE)]
    assert uris(Odd.OTHER_FEDERATION) == ["spiffe://other-federation/site/site-1"]
    assert uris(Odd.NO_IDENTITY) == []
    assert uris(Odd.TWO_IDENTITIES) == [str(SITE), "spiffe://test/operator/mallory"]


@pytest.mark.parametrize("odd", [Odd.NO_IDENTITY, Odd.TWO_IDENTITIES])
def test_a_certificate_that_names_nobody_or_several_is_nobody_s(
    kits: FederationKits, tmp_path: Path, odd: Odd
) -> None:
    made = odd_kit(tmp_path / "odd", kits, SITE, odd)
    assert read_certificate(made.certificate).identity is None
