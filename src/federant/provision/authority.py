"""The folder of the federation's own certificate authority, which stays offline.

ca/federation.toml      the federation's settings
ca/issued.jsonl         every certificate that was issued
ca/1/                   the authority: certificate.pem, key.pem
ca/2/                   the one that takes its place; both are trusted meanwhile
ca/1.retired/           one that is trusted no more
"""

from __future__ import annotations

import stat
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from federant.link.certificate import certificate_facts

from . import record
from .certificates import (
    PublicKey,
    Signer,
    certificate_pem,
    key_pem,
    load_key,
    new_authority,
    sign,
)
from .errors import ProvisionError
from .party import Party
from .passphrase import passphrase
from .private_files import Content, make_folder
from .record import Issued
from .settings import Settings

RECORD_FILE: Final = "issued.jsonl"
CERTIFICATE_FILE: Final = "certificate.pem"
KEY_FILE: Final = "key.pem"
_RETIRED: Final = ".retired"


class Authority:
    """Signs for the federation with its newest authority, and trusts those not retired."""

    def __init__(self, folder: Path, settings: Settings, *, durable: bool = True) -> None:
        self.folder = folder
        self.settings = settings
        self._durable = durable
        self._signer: Signer | None = None

    @property
    def numbers(self) -> list[int]:
        """Of the authorities that are trusted; the last one signs."""
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())

    def certificates(self) -> dict[int, x509.Certificate]:
        """The authorities that are trusted, the one that signs last."""
        return {number: self._certificate(number) for number in self.numbers}

    def trusted_pem(self) -> bytes:
        """What a kit's ``ca.pem`` holds: all that are trusted, the one that signs first."""
        return b"".join(map(certificate_pem, reversed(self.certificates().values())))

    def issued(self) -> list[Issued]:
        """Every certificate that was ever issued, in their order."""
        return record.read(self.folder / RECORD_FILE)

    def issue(
        self, party: Party, key: PublicKey, now: datetime, *, key_elsewhere: bool = False
    ) -> x509.Certificate:
        """A certificate for the party's key, on record before anybody gets it."""
        signer, number = self.signer(), self.numbers[-1]
        if signer.certificate.not_valid_after_utc <= now:
            raise ProvisionError(
                f"the certificate authority in {self.folder / str(number)} has expired; begin "
                'another one with "federant provision rotate-ca"'
            )
        certificate = sign(signer, party, key, now=now, days=self.settings.days)
        facts = certificate_facts(certificate)
        issued = Issued(
            serial=facts.serial,
            identity=party.identity,
            hosts=party.hosts,
            not_before=facts.not_before,
            not_after=facts.not_after,
            authority=number,
            key_elsewhere=key_elsewhere,
            relay=party.relay,
        )
        record.add(self.folder / RECORD_FILE, issued, sync=self._durable)
        return certificate

    def signer(self) -> Signer:
        """The newest authority, with its key; ProvisionError if it is not whole and private."""
        if self._signer is None:
            self._signer = self._load(self._signing_number())
        return self._signer

    def begin(self, now: datetime) -> None:
        """Make the authority which from now on signs; those before it stay trusted."""
        taken = [int(path.name.removesuffix(_RETIRED)) for path in self._all()]
        number = max(taken, default=0) + 1
        signer = new_authority(f"{self.settings.name} authority {number}", now)
        files = {
            CERTIFICATE_FILE: Content(certificate_pem(signer.certificate)),
            KEY_FILE: Content(key_pem(signer.key, passphrase())),
        }
        make_folder(self.folder / str(number), files, sync=self._durable)
        self._signer = signer

    def retire(self) -> list[int]:
        """Trust the newest authority only; gives the numbers of those that were retired."""
        retired = self.numbers[:-1]
        for number in retired:
            (self.folder / str(number)).rename(self.folder / f"{number}{_RETIRED}")
        return retired

    def _all(self) -> list[Path]:
        return [
            path for path in self.folder.iterdir() if path.name.removesuffix(_RETIRED).isdecimal()
        ]

    def _signing_number(self) -> int:
        numbers = self.numbers
        if not numbers:
            raise ProvisionError(
                f"{self.folder} holds no certificate authority: somebody who made it was stopped; "
                'run "federant provision federation.yml" again'
            )
        return numbers[-1]

    def _certificate(self, number: int) -> x509.Certificate:
        path = self.folder / str(number) / CERTIFICATE_FILE
        try:
            return x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ProvisionError(
                f"{path} cannot be read as a certificate ({error}); bring back a copy"
            ) from error

    def _load(self, number: int) -> Signer:
        path = self.folder / str(number) / KEY_FILE
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            pem = path.read_bytes()
        except OSError as error:
            raise ProvisionError(
                f"{path}, the key that signs for the federation, cannot be read "
                f"({error.strerror}); bring back a copy of the folder {self.folder}"
            ) from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ProvisionError(
                f"{path}, the key that signs for the federation, can be used by others (its "
                f"permissions are {mode:o}); run: chmod 600 {path}"
            )
        certificate, key = self._certificate(number), load_key(pem, str(path), passphrase())
        if certificate.public_key() != key.public_key():
            raise ProvisionError(
                f"{path} is not the key of the certificate beside it; bring back a copy of the "
                f"folder {self.folder}"
            )
        return Signer(certificate, key)
