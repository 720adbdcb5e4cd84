"""A startup kit: the folder with which one party joins its federation.

`federant provision` makes kits.  Here is said what lies in one, and that it is whole and private;
what its certificate is good for is said by TLS.
"""

from __future__ import annotations

import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import LinkConfigError
from .identity import Identity

KIT_FILE: Final = "kit.toml"
_KEYS: Final = ("identity", "server")


@dataclass(frozen=True, slots=True)
class Kit:
    """The paths of one kit, whose it is, and where its federation's server is."""

    folder: Path
    identity: Identity
    server: str
    """The address of the federation's server: https://host:port."""

    @property
    def authority(self) -> Path:
        """The certificates (PEM) of those who may sign for the federation."""
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The holder's own certificate (PEM)."""
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        """The private key (PEM, PKCS #8, not encrypted), which only its owner may read."""
        return self.folder / "key.pem"

    def toml(self) -> str:
        """The text of ``kit.toml``."""
        return f'identity = "{self.identity}"\nserver = "{self.server}"\n'


def load_kit(folder: Path) -> Kit:
    """The kit in a folder.

    LinkConfigError, which names the file, if something is missing, the key is not private, or
    everybody on the machine may change the kit.
    """
    place = folder / KIT_FILE
    try:
        raw = tomllib.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LinkConfigError(
            f"{folder} holds no startup kit ({KIT_FILE}); give the folder that "
            '"federant provision" made for this machine'
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LinkConfigError(f"{place} cannot be read as TOML: {error}") from error
    if set(raw) != set(_KEYS) or not all(isinstance(value, str) for value in raw.values()):
        raise LinkConfigError(
            f"{place} must hold the texts {' and '.join(_KEYS)} and nothing else, it has "
            f"{', '.join(sorted(raw)) or 'nothing'}; make the kit again"
        )
    try:
        identity = Identity.from_uri(raw["identity"])
    except ValueError as error:
        raise LinkConfigError(f"{place}: identity: {error}") from error
    kit = Kit(folder, identity, raw["server"])
    for path in (kit.authority, kit.certificate, kit.key):
        if not path.is_file():
            raise LinkConfigError(
                f"{path} is missing, without which the kit of {identity.title} is of no use; "
                "copy the whole kit again"
            )
    _require_private(kit.key)
    for path in (kit.folder, place, kit.authority, kit.certificate):
        _require_unchanged(path)
    return kit


def _require_unchanged(path: Path) -> None:
    """Whoever may write there says whom this party trusts, and where it calls."""
    mode = stat.S_IMODE(path.stat().st_mode)
    # In a folder with the sticky bit, as /tmp has, nobody replaces another's files.
    sticky = path.is_dir() and mode & stat.S_ISVTX
    if mode & stat.S_IWOTH and not sticky:
        raise LinkConfigError(
            f"{path} can be changed by others (its permissions are {mode:o}); run: chmod o-w {path}"
        )


def _require_private(key: Path) -> None:
    mode = stat.S_IMODE(key.stat().st_mode)
    # The group may read it: so a container's secret is given to a user that is not root.
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise LinkConfigError(
            f"{key} can be read or changed by others (its permissions are {mode:o}); "
            f"run: chmod 600 {key}"
        )
