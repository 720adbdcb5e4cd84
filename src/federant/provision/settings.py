"""What holds for all kits of one federation, kept in the folder of its authority."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from federant.link.identity import Role

from .errors import ProvisionError
from .party import identity_of

SETTINGS_FILE: Final = "federation.toml"
MAX_DAYS: Final = 3650
DEFAULT_DAYS: Final = 365


@dataclass(frozen=True, slots=True)
class Settings:
    """The federation's name, its server's address, and how many days a certificate is good for."""

    name: str
    server: str
    days: int = DEFAULT_DAYS

    def __post_init__(self) -> None:
        identity_of(self.name, Role.SERVER)
        parts = urlsplit(self.server)
        if parts.scheme != "https" or not parts.hostname or '"' in self.server:
            raise ProvisionError(
                f"{self.server!r} is no address of a server over TLS; it is like "
                "https://fed.example.org:8750"
            )
        if not 1 <= self.days <= MAX_DAYS:
            raise ProvisionError(f"days is {self.days}, but must be from 1 to {MAX_DAYS}")

    @property
    def port(self) -> int:
        """The port of the server's address."""
        return urlsplit(self.server).port or 443

    def toml(self) -> str:
        return f'name = "{self.name}"\nserver = "{self.server}"\ndays = {self.days}\n'


def load_settings(path: Path) -> Settings:
    """What ``Settings.toml`` wrote, or ProvisionError."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        return Settings(name=str(found["name"]), server=str(found["server"]), days=found["days"])
    except FileNotFoundError:
        raise ProvisionError(
            f"{path.parent.parent} holds no federation's kits ({path} is missing); make them with "
            '"federant provision federation.yml", or say with --dir where they are'
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ProvisionError(f"{path} cannot be used ({error!r}); bring back a copy") from error
    except ProvisionError as error:
        raise ProvisionError(f"{path}: {error}") from error
