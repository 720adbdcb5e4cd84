"""Makes keys, requests and certificates in memory; files, and who may have which, are not here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federant.link.identity import Role

from .errors import ProvisionError
from .party import Party, as_address
from .passphrase import FROM_FILE, VARIABLE

CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""A certificate is good from so long ago: a machine whose clock is behind takes it at once."""
AUTHORITY_LIFE: Final = timedelta(days=3652)
_MAX_COMMON_NAME: Final = 64
_CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
_SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH
# A site is dialled too: by its agents.
_USAGES: Final = {
    Role.SERVER: (_SERVER, _CLIENT),
    Role.SITE: (_CLIENT, _SERVER),
    Role.AGENT: (_CLIENT,),
    Role.OPERATOR: (_CLIENT,),
}

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate authority with its key."""

    certificate: x509.Certificate
    key: PrivateKey


def new_key() -> PrivateKey:
    """A new key, on the curve P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """A key as PKCS #8 in PEM, encrypted if there is a passphrase."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption(),
    )


def certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint(key: PublicKey) -> str:
    """By which two people make sure, by telephone say, that they look at the same key."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()[:32]


def new_authority(title: str, now: datetime) -> Signer:
    """A certificate authority that signs for parties, and for no further authorities."""
    key = new_key()
    name = _name(title)
    usage = _key_usage(sign=False, authority=True)
    builder = (
        _builder(name, name, key.public_key(), now, now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(_subject_id(key.public_key()), critical=False)
    )
    return Signer(builder.sign(key, hashes.SHA256()), key)


def sign(
    signer: Signer, party: Party, key: PublicKey, *, now: datetime, days: int
) -> x509.Certificate:
    """A certificate for the party's key; it does not outlive that of the authority."""
    end = min(now + timedelta(days=days), signer.certificate.not_valid_after_utc)
    return leaf(signer, party, key, start=now - CLOCKS_DIFFER, end=end).sign(
        signer.key, hashes.SHA256()
    )


def leaf(
    signer: Signer,
    party: Party,
    key: PublicKey,
    *,
    start: datetime,
    end: datetime,
    uris: Sequence[str] | None = None,
) -> x509.CertificateBuilder:
    """A party's certificate, not yet signed; ``uris`` are named instead of its identity."""
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(uri)
        for uri in ([str(party.identity)] if uris is None else uris)
    ]
    for host in party.hosts:
        address = as_address(host)
        names.append(x509.DNSName(host) if address is None else x509.IPAddress(address))
    authority = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority.value)
    builder = (
        _builder(_name(party.identity.title), signer.certificate.subject, key, start, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign=True, authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USAGES[party.identity.role]), critical=False)
        .add_extension(_subject_id(key), critical=False)
        .add_extension(authority_id, critical=False)
    )
    if not names:
        return builder
    return builder.add_extension(x509.SubjectAlternativeName(names), critical=False)


def request_pem(key: PrivateKey, title: str) -> bytes:
    """A request (CSR) to have the key certified; the title is for people only."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(title))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def requested_key(pem: bytes, where: str) -> PublicKey:
    """The key that a request wants certified.

    That its sender has the key is checked; whatever else the request says is not even read.
    ProvisionError, which begins with ``where``, for what is no such request.
    """
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        good = request.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise ProvisionError(
            f"{where}: is no certificate request (PEM): {error}; give the .csr file that "
            '"federant provision request" made'
        ) from error
    if not good:
        raise ProvisionError(
            f"{where}: is not signed by the key that it asks a certificate for; it was changed on "
            "its way: let it be sent again"
        )
    if not isinstance(key, PublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ProvisionError(
            f"{where}: is for a key of another kind than P-256; let it be made by "
            '"federant provision request"'
        )
    return key


def load_key(pem: bytes, where: str, passphrase: bytes | None = None) -> PrivateKey:
    """A key that ``key_pem`` wrote; ProvisionError, which begins with ``where``, for another."""
    locked = b"BEGIN ENCRYPTED" in pem
    try:
        key = serialization.load_pem_private_key(pem, password=passphrase if locked else None)
    except (ValueError, TypeError) as error:
        if locked:
            raise ProvisionError(
                f"{where}: is locked with another passphrase than the one given, or none was "
                f"given; set {VARIABLE} or {FROM_FILE}"
            ) from error
        # The text of the error may quote the file.
        raise ProvisionError(
            f"{where}: is no private key in PEM; bring back a copy of it"
        ) from error
    if not isinstance(key, PrivateKey):
        raise ProvisionError(f"{where}: is a key of another kind than P-256; bring back the right")
    return key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _name(title: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title[:_MAX_COMMON_NAME])])


def _subject_id(key: PublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _key_usage(*, sign: bool, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
