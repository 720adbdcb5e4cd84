"""What a certificate says of its holder; whether anybody trusts it is said by TLS."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from .errors import LinkConfigError
from .identity import Identity

WARN_BEFORE: Final = timedelta(days=30)
"""A certificate that ends so soon should be renewed."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What one certificate says."""

    identity: Identity | None
    """None if it names nobody of a federation, or several."""
    serial: str
    """In lowercase hexadecimal digits."""
    not_before: datetime
    not_after: datetime

    def remaining(self, now: datetime | None = None) -> timedelta:
        """How long it is still good for; negative once it has ended."""
        return self.not_after - (now or datetime.now(UTC))


def certificate_facts(certificate: x509.Certificate) -> CertificateFacts:
    """What a certificate that has been read says."""
    identities = _identities(certificate)
    return CertificateFacts(
        identity=identities[0] if len(identities) == 1 else None,
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def read_certificate(path: Path) -> CertificateFacts:
    """What the first certificate in a file (PEM) says; LinkConfigError if there is none."""
    try:
        return certificate_facts(x509.load_pem_x509_certificate(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise LinkConfigError(
            f"{path} cannot be read as a certificate (PEM): {error}; copy the whole kit again"
        ) from error


def _identities(certificate: x509.Certificate) -> list[Identity]:
    found = []
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        with suppress(ValueError):
            found.append(Identity.from_uri(uri))
    return found
