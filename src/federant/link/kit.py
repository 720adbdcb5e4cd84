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
from .identity import Identity, Role

KIT_FILE: Final = "kit.toml"
_KEYS: Final = ("identity", "server")
_OF_AGENTS: Final = "relay"
"""A key that an agent's kit may have, and no other."""


@dataclass(frozen=True, slots=True)
class Kit:
    """The paths of one kit, whose it is, and where its federation's server is."""

    folder: Path
    identity: Identity
    server: str
    """The address of the federation's server: https://host:port."""
    relay: str = ""
    """In an agent's kit: the address of its site's relay, https://host:port, if that is known."""

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
        relay = f'relay = "{self.relay}"\n' if self.relay else ""
        return f'identity = "{self.identity}"\nserver = "{self.server}"\n{relay}'


def load_kit(folder: Path) -> Kit:
    """The kit in a folder.

    LinkConfigError, which names the file, if something is missing, the key is not private, or
    everybody on the machine may change the kit.
    """
    kit = read_kit_file(folder)
    for path in (kit.authority, kit.certificate, kit.key):
        if not path.is_file():
            raise LinkConfigError(
                f"{path} is missing, without which the kit of {kit.identity.title} is of no use; "
                "copy the whole kit again"
            )
    _require_private(kit.key)
    for path in (kit.folder, folder / KIT_FILE, kit.authority, kit.certificate):
        require_unchanged(path)
    return kit


def read_kit_file(folder: Path) -> Kit:
    """What ``kit.toml`` in a folder says, whatever else is there; LinkConfigError as from above."""
    place = folder / KIT_FILE
    try:
        raw = tomllib.loads(place.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise LinkConfigError(
            f"{folder} holds no startup kit ({KIT_FILE}); give the folder that "
            '"federant provision" made for this machine'
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LinkConfigError(f"{place} cannot be read as TOML: {error}") from error
    texts = all(isinstance(value, str) for value in raw.values())
    if set(raw) - {_OF_AGENTS} != set(_KEYS) or not texts:
        raise LinkConfigError(
            f"{place} must hold the texts {' and '.join(_KEYS)}, an agent's may hold {_OF_AGENTS}, "
            f"and nothing else, it has {', '.join(sorted(raw)) or 'nothing'}; make the kit again"
        )
    try:
        identity = Identity.from_uri(raw["identity"])
    except ValueError as error:
        raise LinkConfigError(f"{place}: identity: {error}") from error
    if _OF_AGENTS in raw and identity.role is not Role.AGENT:
        raise LinkConfigError(
            f"{place}: {_OF_AGENTS} is a key of agents' kits, and this one is of {identity.title}; "
            "remove it"
        )
    return Kit(folder, identity, raw["server"], raw.get(_OF_AGENTS, ""))


def require_unchanged(path: Path) -> None:
    """LinkConfigError if everybody on the machine may change what is there.

    Whoever may says whom this party trusts, where it calls, and what it runs.
    """
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
