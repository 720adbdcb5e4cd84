"""Keys made elsewhere: only the request's key counts, and only if whoever sends it has it."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from federant.link import LinkConfigError
from federant.link.identity import Identity, Role
from federant.link.kit import load_kit
from federant.provision import (
    FederationKits,
    Party,
    ProvisionError,
    fingerprint,
    make_request,
    open_federation,
    read_request,
)

from .conftest import Handshake

SITE = Identity("hospitals", Role.SITE, "site-3")


def copy_kit(kit: Path, into: Path) -> None:
    for path in kit.iterdir():
        shutil.copy(path, into)


def write_request(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Path:
    """A request that claims to be the server, an authority, and for every host."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server of hospitals")])
    names = [
        x509.UniformResourceIdentifier("spiffe://hospitals/server"),
        x509.DNSName("localhost"),
    ]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_kit_without_a_key_is_whole_once_it_is_copied_to_where_the_key_is(
    kits: FederationKits, tmp_path: Path, shake_hands: Handshake
) -> None:
    request = make_request("site-3", tmp_path / "at-the-site")
    key = read_request(request.file)
    assert fingerprint(key) == request.fingerprint
    with open_federation(kits.folder) as federation:
        made = federation.add(Party(SITE), key)
    assert not (made / "key.pem").exists()
    with pytest.raises(LinkConfigError, match=r"key\.pem is missing"):
        load_kit(made)
    copy_kit(made, request.folder)
    kit = load_kit(request.folder)
    assert shake_hands(kits.server, kit)[1] == [str(SITE)]


def test_a_request_s_key_is_private_and_stands_nowhere_else(tmp_path: Path) -> None:
    request = make_request("site-3", tmp_path / "site-3")
    key = request.folder / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(request.folder.stat().st_mode) == 0o700
    assert b"PRIVATE" not in request.file.read_bytes()


def test_a_key_that_is_there_is_never_made_again(tmp_path: Path) -> None:
    request = make_request("site-3", tmp_path / "site-3")
    key = (request.folder / "key.pem").read_bytes()
    with pytest.raises(ProvisionError, match="is there already"):
        make_request("site-3", tmp_path / "site-3")
    assert (request.folder / "key.pem").read_bytes() == key


def test_nothing_that_a_request_claims_gets_into_the_certificate(
    kits: FederationKits, tmp_path: Path
) -> None:
    file = write_request(tmp_path / "r.csr", ec.generate_private_key(ec.SECP256R1()))
    with open_federation(kits.folder) as federation:
        made = federation.add(Party(SITE), read_request(file))
    certificate = x509.load_pem_x509_certificate((made / "certificate.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert [name.value for name in names] == [str(SITE)]
    assert limits.ca is False
    assert certificate.subject.rfc4514_string() == "CN=site site-3"


def test_a_request_that_was_changed_on_its_way_is_refused(tmp_path: Path) -> None:
    """The subject is another one: the request is right but for its signature."""
    file = write_request(tmp_path / "r.csr", ec.generate_private_key(ec.SECP256R1()))
    request = x509.load_pem_x509_csr(file.read_bytes())
    der = request.public_bytes(serialization.Encoding.DER)
    assert der.count(b"server of hospitals") == 1
    changed = x509.load_der_x509_csr(der.replace(b"server of hospitals", b"server of hospitalz"))
    file.write_bytes(changed.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(ProvisionError, match=r"is not signed by the key .*let it be sent again"):
        read_request(file)


@pytest.mark.parametrize("kind", ["another curve", "rsa"])
def test_a_key_of_another_kind_is_refused(tmp_path: Path, kind: str) -> None:
    key = (
        rsa.generate_private_key(65537, 2048)
        if kind == "rsa"
        else ec.generate_private_key(ec.SECP384R1())
    )
    with pytest.raises(ProvisionError, match="of another kind than P-256"):
        read_request(write_request(tmp_path / "r.csr", key))


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"-----BEGIN CERTIFICATE REQUEST-----\nAA"])
def test_what_is_no_request_is_refused_by_its_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.csr").write_bytes(content)
    with pytest.raises(ProvisionError, match=r"r\.csr: is no certificate request"):
        read_request(tmp_path / "r.csr")


def test_a_request_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match=r"nowhere\.csr cannot be read"):
        read_request(tmp_path / "nowhere.csr")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "."])
def test_a_request_s_name_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProvisionError, match="cannot be a name"):
        make_request(name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_who_made_a_key_elsewhere_is_renewed_by_another_request_only(
    kits: FederationKits, tmp_path: Path, shake_hands: Handshake
) -> None:
    first = make_request("site-3", tmp_path / "first")
    again = make_request("site-3", tmp_path / "again")
    with open_federation(kits.folder) as federation:
        federation.add(Party(SITE), read_request(first.file))
        with pytest.raises(ProvisionError, match=r"made elsewhere and is not here.*with --csr"):
            federation.renew(SITE)
        renewed = federation.renew(SITE, read_request(again.file))
    copy_kit(renewed.folder, again.folder)
    assert shake_hands(kits.server, load_kit(again.folder))[1] == [str(SITE)]


def test_a_key_that_was_made_here_gives_way_to_one_made_elsewhere(
    kits: FederationKits, tmp_path: Path
) -> None:
    request = make_request("site-1", tmp_path / "site-1")
    site = kits.sites["site-1"]
    with open_federation(kits.folder) as federation:
        renewed = federation.renew(site.identity, read_request(request.file))
    assert not site.key.exists()
    assert renewed.kept is not None
    assert load_kit(renewed.kept).identity == site.identity
