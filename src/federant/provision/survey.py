"""Looks through a folder for certificates: whose they are, and how long they are still good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from federant.link import LinkConfigError
from federant.link.certificate import WARN_BEFORE, CertificateFacts, certificate_facts
from federant.link.kit import KIT_FILE, read_kit_file

from .certificates import PublicKey
from .errors import ProvisionError
from .federation import kit_folders
from .kit_files import CERTIFICATE_FILE, KEY_FILE


class Condition(StrEnum):
    """What is to be said of a certificate and the key beside it."""

    GOOD = ""
    EXPIRED = "has expired: renew it"
    EXPIRES = "ends soon: renew it"
    NOT_YET_VALID = "is not valid yet: check this machine's clock"
    OTHER_KEY = "the key beside it is another's: copy the whole kit again"
    NO_KEY = "its key is not here"


@dataclass(frozen=True, slots=True)
class Seen:
    """One certificate that was found."""

    place: Path
    """Its folder, from the one that was looked through."""
    facts: CertificateFacts
    title: str
    remaining: timedelta
    condition: Condition
    relay: str = ""
    """What an agent dials, if its kit says so."""

    @property
    def needs_care(self) -> bool:
        """Whether somebody should do something."""
        return self.condition not in (Condition.GOOD, Condition.NO_KEY)


def survey(folder: Path, now: datetime | None = None) -> list[Seen]:
    """The certificates in a federation's folder, its authorities first, or in a single kit.

    ProvisionError if there are none, or one cannot be read.
    """
    now = now or datetime.now(UTC)
    found = [_look(place, folder, now) for place in _places(folder)]
    if not found:
        raise ProvisionError(
            f'{folder} holds neither kits nor a kit; give a folder that "federant provision" made'
        )
    return found


def _places(folder: Path) -> Iterator[Path]:
    if (folder / CERTIFICATE_FILE).is_file():
        yield folder
        return
    authorities = (path for path in folder.glob("ca/*") if path.name.isdecimal())
    yield from sorted(authorities, key=lambda path: int(path.name))
    yield from kit_folders(folder)


def _look(place: Path, folder: Path, now: datetime) -> Seen:
    path = place / CERTIFICATE_FILE
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ProvisionError(
            f"{path} cannot be read as a certificate ({error}); copy the whole kit again"
        ) from error
    facts = certificate_facts(certificate)
    title = facts.identity.title if facts.identity else certificate.subject.rfc4514_string()
    return Seen(
        place=place.relative_to(folder),
        facts=facts,
        title=title.removeprefix("CN="),
        remaining=facts.remaining(now),
        condition=_condition(certificate, place / KEY_FILE, now),
        relay=_relay(place),
    )


def _relay(place: Path) -> str:
    if not (place / KIT_FILE).exists():  # an authority's folder, or a certificate by itself
        return ""
    try:
        return read_kit_file(place).relay
    except LinkConfigError as error:
        raise ProvisionError(str(error)) from error


def _condition(certificate: x509.Certificate, key: Path, now: datetime) -> Condition:
    if certificate.not_valid_after_utc <= now:
        return Condition.EXPIRED
    if key.is_file() and not _belongs(key, certificate):
        return Condition.OTHER_KEY
    if certificate.not_valid_before_utc > now:
        return Condition.NOT_YET_VALID
    if certificate.not_valid_after_utc - now < WARN_BEFORE:
        return Condition.EXPIRES
    return Condition.GOOD if key.is_file() else Condition.NO_KEY


def _belongs(key: Path, certificate: x509.Certificate) -> bool:
    try:
        found = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (ValueError, TypeError):
        return False
    public = found.public_key()
    return isinstance(public, PublicKey) and public == certificate.public_key()
