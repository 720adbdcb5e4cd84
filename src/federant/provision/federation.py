"""The folder of a federation's authority and all its kits: makes, renews and rotates them.

    DIR/ca/                     the authority, which stays offline
    DIR/server/                 the server's kit
    DIR/sites/site-1/           a site's
    DIR/operators/alice/        an operator's
    DIR/agents/site-1.gpu-7/    an agent's
    DIR/old/sites/site-1.DATE-SERIAL/    what was renewed

Whoever is killed half-way leaves a folder that the next command finds in order.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from federant.link.identity import Identity, Role
from federant.link.kit import KIT_FILE

from .authority import Authority
from .certificates import PrivateKey, PublicKey, certificate_pem, key_pem, load_key, new_key
from .errors import ProvisionError
from .kit_files import CA_FILE, CERTIFICATE_FILE, KEY_FILE, kit_files
from .party import Party, place_of
from .private_files import (
    PRIVATE_FILE,
    PUBLIC_FILE,
    Content,
    make_folder,
    make_private_folder,
    remove_parts,
    replace,
    write_new,
)
from .record import Issued
from .settings import SETTINGS_FILE, Settings, load_settings

_KINDS: Final = (".", "sites", "operators", "agents")
_OLD: Final = "old"
_NEW: Final = ".new"
_OF_A_KIT: Final = (KIT_FILE, CA_FILE, CERTIFICATE_FILE, KEY_FILE)


@dataclass(frozen=True, slots=True)
class Renewed:
    """A kit with a new certificate."""

    folder: Path
    kept: Path | None
    """Where the old certificate and its key lie now; None if they were not here any more."""


class Federation:
    """A federation's folder, which nobody else changes meanwhile: see ``open_federation``."""

    def __init__(self, folder: Path, authority: Authority, now: datetime) -> None:
        self.folder = folder
        self.authority = authority
        self.settings = authority.settings
        self._now = now

    def folder_of(self, identity: Identity) -> Path:
        """Where the identity's kit lies, or would."""
        return self.folder / place_of(identity)

    def has(self, identity: Identity) -> bool:
        """Whether there is a kit of the identity."""
        return (self.folder_of(identity) / CERTIFICATE_FILE).is_file()

    def add(self, party: Party, key: PublicKey | None = None) -> Path:
        """Make a party's kit; ProvisionError if there is one, or no site for an agent to be of.

        With ``key`` the party has made its own: the kit comes without one.
        """
        if self.has(party.identity):
            folder = self.folder_of(party.identity)
            relay = (
                f'to have it dial another relay, put the line relay = "{party.relay}" into '
                f"{folder / KIT_FILE} and into that of its copy, which a renewal leaves there; "
            )
            raise ProvisionError(
                f"{folder} is the kit of {party.identity.title} already; "
                f"{relay if party.relay else ''}"
                'for a new certificate run "federant provision renew '
                f'{place_of(party.identity)}"'
            )
        if party.identity.role is Role.AGENT:
            self._require_site(party.identity)
        certificate, own = self._certify(party, key)
        folder = self.folder_of(party.identity)
        trusted = self.authority.trusted_pem()
        make_folder(folder, kit_files(party, self.settings, certificate, own, trusted))
        return folder

    def renew(
        self,
        identity: Identity,
        key: PublicKey | None = None,
        hosts: tuple[str, ...] | None = None,
    ) -> Renewed:
        """Give a kit a new certificate and a new key.

        The old certificate stays good until it ends or is revoked.  With ``key`` the party has
        made its own.  ``hosts`` take the place of those that the last certificate was for.
        """
        last = self.last_issued(identity)
        if last is None:
            raise ProvisionError(f'{identity.title} has no kit; make it with "federant provision"')
        if key is None and last.key_elsewhere:
            raise ProvisionError(
                f"the key of {identity.title} was made elsewhere and is not here; let its owner "
                'run "federant provision request", and give the file with --csr'
            )
        party = Party(identity, last.hosts if hosts is None else hosts, last.relay)
        if not self.has(identity):
            return Renewed(self.add(party, key), None)
        folder = self.folder_of(identity)
        kept = self._keep(folder)
        certificate, own = self._certify(party, key)
        # Once the new certificate is there, so is its key: from then on it goes ahead.
        if own is not None:
            write_new(folder / (KEY_FILE + _NEW), Content(key_pem(own)), sync=True)
        content = Content(certificate_pem(certificate), PUBLIC_FILE)
        replace(folder / (CERTIFICATE_FILE + _NEW), content)
        _finish_renewal(folder)
        self._spread_trust()
        return Renewed(folder, kept)

    def rotate(self) -> None:
        """Begin another authority, which signs from now on; every kit here trusts both."""
        if len(self.authority.numbers) > 1:
            raise ProvisionError(
                "another authority has been begun already; renew every kit, and run "
                '"federant provision retire-ca" before the next one'
            )
        self.authority.begin(self._now)
        self._spread_trust()

    def retire(self, *, force: bool = False) -> list[int]:
        """Trust the newest authority only; gives the numbers of those before it.

        ProvisionError, unless forced, while somebody's newest certificate is of an older one.
        """
        newest = max(self.authority.numbers)
        behind = [
            str(place_of(issued.identity))
            for issued in self.parties().values()
            if issued.authority != newest and issued.not_after > self._now
        ]
        if behind and not force:
            raise ProvisionError(
                f"the old authority has signed the newest certificates of {', '.join(behind)}, "
                'whom nobody would let in any more; renew them first ("federant provision renew"), '
                "or give --force if they are to stay out"
            )
        retired = self.authority.retire()
        if not retired:
            raise ProvisionError(
                'there is one authority only; begin another one with "federant provision rotate-ca"'
            )
        self._spread_trust()
        return retired

    def parties(self) -> dict[Identity, Issued]:
        """Everybody who ever got a certificate, with the newest one, in the order of the first."""
        return {issued.identity: issued for issued in self.authority.issued()}

    def last_issued(self, identity: Identity) -> Issued | None:
        """The newest certificate of an identity."""
        return self.parties().get(identity)

    def find(self, word: str) -> Identity:
        """Who is meant by ``site-1``, ``sites/site-1`` or the path of a kit that lies here."""
        parties = list(self.parties())
        text = word.rstrip("/")
        inside = Path(text).resolve()
        for identity in parties:
            if text in (str(place_of(identity)), str(identity)):
                return identity
            if inside == self.folder_of(identity).resolve():
                return identity
        found = [identity for identity in parties if place_of(identity).name == text]
        if len(found) == 1:
            return found[0]
        if found:
            which = " or ".join(str(place_of(identity)) for identity in found)
            raise ProvisionError(f"{word!r} can be several; say which: {which}")
        known = ", ".join(str(place_of(identity)) for identity in parties) or "nobody"
        raise ProvisionError(f"nobody here is called {word!r}; known are {known}")

    def settle(self) -> None:
        """Finish or undo what somebody who was killed left half-done."""
        for kind in _KINDS:
            remove_parts(self.folder / kind)
            remove_parts(self.folder / _OLD / kind)
        for folder in self.kit_folders():
            remove_parts(folder)
            _finish_renewal(folder)
        self._spread_trust()

    def kit_folders(self) -> list[Path]:
        """The folders of all kits here."""
        return kit_folders(self.folder)

    def _require_site(self, agent: Identity) -> None:
        sites = [each.name for each in self.parties() if each.role is Role.SITE]
        if agent.site not in sites:
            raise ProvisionError(
                f"{agent.title}: there is no such site; known are {', '.join(sites) or 'none'}; "
                'add the site first ("federant provision add")'
            )

    def _certify(
        self, party: Party, key: PublicKey | None
    ) -> tuple[x509.Certificate, PrivateKey | None]:
        if key is not None:
            return self.authority.issue(party, key, self._now, key_elsewhere=True), None
        own = new_key()
        return self.authority.issue(party, own.public_key(), self._now), own

    def _keep(self, folder: Path) -> Path:
        """Copy what is about to be replaced, as a kit of its own."""
        old = x509.load_pem_x509_certificate((folder / CERTIFICATE_FILE).read_bytes())
        day = f"{self._now:%Y-%m-%d}"
        name = f"{folder.name}.{day}-{old.serial_number:x}"
        kept = self.folder / _OLD / folder.relative_to(self.folder).parent / name
        if not kept.exists():  # the one before may have been stopped right after this
            files = {
                name: Content((folder / name).read_bytes())
                for name in _OF_A_KIT
                if (folder / name).is_file()
            }
            make_folder(kept, files)
        return kept

    def _spread_trust(self) -> None:
        if not self.authority.numbers:
            return
        trusted = self.authority.trusted_pem()
        for folder in self.kit_folders():
            path = folder / CA_FILE
            if not path.is_file() or path.read_bytes() != trusted:
                replace(path, Content(trusted, PUBLIC_FILE))


@contextmanager
def open_federation(
    folder: Path,
    settings: Settings | None = None,
    *,
    now: datetime | None = None,
    durable: bool = True,
) -> Iterator[Federation]:
    """The federation in a folder, for one command at a time: others wait.

    With ``settings`` it is made if it is not there; one that is there must have the same name and
    server.  ``now`` is the time at which certificates begin.  Unless ``durable``, the authority
    and the record of certificates may be lost when the power fails.
    """
    place = folder / "ca"
    if settings is None:
        settings = load_settings(place / SETTINGS_FILE)
    else:
        make_private_folder(folder)
        make_private_folder(place)
    now = now or datetime.now(UTC)
    with _locked(place / "lock"):
        _keep_settings(place / SETTINGS_FILE, settings)
        federation = Federation(folder, Authority(place, settings, durable=durable), now)
        remove_parts(place)
        if not federation.authority.numbers:
            federation.authority.begin(now)
        federation.settle()
        yield federation


def kit_folders(folder: Path) -> list[Path]:
    """The folders of the kits in a federation's folder."""
    found = [folder / "server"]
    for kind in _KINDS[1:]:
        if (folder / kind).is_dir():
            found += sorted(path for path in (folder / kind).iterdir() if path.name[0] != ".")
    return [path for path in found if (path / CERTIFICATE_FILE).is_file()]


def _keep_settings(path: Path, wanted: Settings) -> None:
    if path.exists():
        there = load_settings(path)
        for key in ("name", "server"):
            old, new = getattr(there, key), getattr(wanted, key)
            if old != new:
                raise ProvisionError(
                    f"{path} has {key} = {old!r}, for which the kits beside it were made, and not "
                    f"{new!r}; put the old one back, or make kits in another folder (--out)"
                )
        if there == wanted:
            return
    replace(path, Content(wanted.toml().encode()))


def _finish_renewal(folder: Path) -> None:
    """Put a new certificate and its key in their places, if both are there."""
    certificate, key = folder / (CERTIFICATE_FILE + _NEW), folder / (KEY_FILE + _NEW)
    if not certificate.exists():
        key.unlink(missing_ok=True)
        return
    if key.exists():
        key.replace(folder / KEY_FILE)
    elif (folder / KEY_FILE).exists():
        there = load_key((folder / KEY_FILE).read_bytes(), str(folder / KEY_FILE))
        new = x509.load_pem_x509_certificate(certificate.read_bytes())
        if there.public_key() != new.public_key():
            (folder / KEY_FILE).unlink()  # the new one was made elsewhere; this one was kept
    certificate.replace(folder / CERTIFICATE_FILE)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
