"""Kits that must be refused, for tests of TLS: each has one thing wrong with its certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from federant.link.identity import Identity, Role
from federant.link.kit import Kit, load_kit
from federant.provision import FederationKits, Party, checked_host
from federant.provision.authority import Authority
from federant.provision.certificates import Signer, leaf, new_authority, new_key
from federant.provision.kit_files import kit_files
from federant.provision.private_files import make_folder
from federant.provision.settings import SETTINGS_FILE, load_settings

_DAY: Final = timedelta(days=1)


class Odd(StrEnum):
    """What is wrong with a certificate, and nothing else is."""

    EXPIRED = "expired"
    """It ended a day ago."""
    NOT_YET_VALID = "not_yet_valid"
    """It begins in a day."""
    OTHER_AUTHORITY = "other_authority"
    """Signed by an authority of the same name that nobody trusts; the kit trusts the right one."""
    OTHER_FEDERATION = "other_federation"
    """Of the right authority, and names the same party of another federation."""
    NO_IDENTITY = "no_identity"
    """Names nobody."""
    TWO_IDENTITIES = "two_identities"
    """Names an operator too."""


def odd_kit(
    folder: Path,
    federation: FederationKits,
    identity: Identity,
    odd: Odd | None = None,
    *,
    hosts: Sequence[str] = (),
    now: datetime | None = None,
) -> Kit:
    """Make a kit of a party in ``folder``, which must not be there, with a thing wrong.

    The kit itself is whole: ``load_kit`` takes it.  ``kit.toml`` says ``identity`` in any case.
    ``hosts`` are those that the certificate is for: a server's under another name than the one
    that is dialled, say; with ``odd=None`` they are all that can be wrong.  Nothing is put on
    record.
    """
    now = now or datetime.now(UTC)
    authority = Authority(
        federation.folder / "ca", load_settings(federation.folder / "ca" / SETTINGS_FILE)
    )
    signer = authority.signer()
    if odd is Odd.OTHER_AUTHORITY:
        signer = _namesake(signer, now)
    party = Party(identity, tuple(map(checked_host, hosts)))
    named = party
    if odd is Odd.OTHER_FEDERATION:
        named = replace(party, identity=replace(identity, federation="other-federation"))
    start, end = now - _DAY, now + _DAY
    if odd is Odd.EXPIRED:
        start, end = now - 2 * _DAY, now - _DAY
    elif odd is Odd.NOT_YET_VALID:
        start, end = now + _DAY, now + 2 * _DAY
    key = new_key()
    certificate = leaf(
        signer, named, key.public_key(), start=start, end=end, uris=_uris(named.identity, odd)
    ).sign(signer.key, hashes.SHA256())
    settings = replace(authority.settings, server=federation.server.server)
    make_folder(folder, kit_files(party, settings, certificate, key, authority.trusted_pem()))
    return load_kit(folder)


def _namesake(signer: Signer, now: datetime) -> Signer:
    """Another authority that says it is this one."""
    names = signer.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return new_authority(str(names[0].value), now)


def _uris(identity: Identity, odd: Odd | None) -> list[str]:
    match odd:
        case Odd.NO_IDENTITY:
            return []
        case Odd.TWO_IDENTITIES:
            return [str(identity), str(Identity(identity.federation, Role.OPERATOR, "mallory"))]
        case _:
            return [str(identity)]
