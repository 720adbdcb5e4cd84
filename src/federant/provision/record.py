"""The record of every certificate that was issued: a line of JSON each, added to and never changed.

By it a certificate can be revoked whose kit is long gone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from federant.link.identity import Identity

from .errors import ProvisionError
from .private_files import PRIVATE_FILE


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate that was issued."""

    serial: str
    """In lowercase hexadecimal digits."""
    identity: Identity
    hosts: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    authority: int
    """The number of the certificate authority that signed it."""
    key_elsewhere: bool = False
    """Whether its key was made on another machine, which sent a request."""
    relay: str = ""
    """What an agent was to dial when its kit was made."""

    def line(self) -> str:
        content = {
            "serial": self.serial,
            "identity": str(self.identity),
            "hosts": self.hosts,
            "not_before": _text(self.not_before),
            "not_after": _text(self.not_after),
            "authority": self.authority,
            "key_elsewhere": self.key_elsewhere,
            "relay": self.relay,
        }
        return json.dumps(content) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Issued:
        """What ``line`` wrote; ValueError, KeyError or TypeError for another text."""
        found: dict[str, Any] = json.loads(line)
        int(found["serial"], 16)
        return cls(
            serial=found["serial"],
            identity=Identity.from_uri(found["identity"]),
            hosts=tuple(found["hosts"]),
            not_before=datetime.fromisoformat(found["not_before"]),
            not_after=datetime.fromisoformat(found["not_after"]),
            authority=int(found["authority"]),
            key_elsewhere=bool(found["key_elsewhere"]),
            relay=str(found.get("relay", "")),  # lines of old have none
        )


def add(path: Path, issued: Issued, *, sync: bool = True) -> None:
    """Write one line; ``sync``: it is on the disk before this returns.

    A line that was cut off, when a machine stopped, belongs to a certificate that nobody ever got:
    it is cut away.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, PRIVATE_FILE), "rb+") as file:
        content = file.read()
        file.seek(content.rfind(b"\n") + 1)
        file.truncate()
        file.write(issued.line().encode())
        if sync:
            file.flush()
            os.fsync(file.fileno())


def read(path: Path) -> list[Issued]:
    """All certificates in their order; ProvisionError for a line that is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise ProvisionError(f"{path} is not the record of certificates: {error}") from error
    found = []
    whole, _, _ = text.rpartition("\n")
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            found.append(Issued.from_line(line))
        except (ValueError, KeyError, TypeError) as error:
            raise ProvisionError(
                f"{path}:{number}: is no certificate's line ({error!r}); bring back a copy of the "
                "file: by it certificates are revoked"
            ) from error
    return found


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
