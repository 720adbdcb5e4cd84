"""Which certificates are good no more: as a cell reads it from its site's file, and says it.

Who writes that file is not here.
"""

from __future__ import annotations

from pathlib import Path

from federant.cellnet.errors import RevokedError, SealBrokenError
from federant.cellnet.words import Refusal
from federant.link.identity import Identity
from federant.link.messages import RevokedSerials


def revocation(identity: Identity, serial: str) -> str:
    """What whoever has that certificate is told."""
    return (
        f"{Refusal.REVOKED}: the certificate of {identity.title}, serial number {serial}, was "
        "revoked; ask the federation's operator for another"
    )


class RevokedFile:
    """Read again whenever it is another one. What was revoked once stays so."""

    def __init__(self, file: Path | None) -> None:
        """`file` need not be there yet: the site has heard of nobody then. None: there is none."""
        self._file = file
        self._read: tuple[int, int] | None = None
        self._serials: frozenset[str] = frozenset()

    def require_good(self, identity: Identity, serial: str) -> None:
        """RevokedError for a certificate that is not; SealBrokenError if that cannot be known."""
        if self._file is not None:
            self._look(self._file)
        if serial in self._serials:
            raise RevokedError(revocation(identity, serial))

    def _look(self, file: Path) -> None:
        try:
            there = file.stat()
            if self._read != (there.st_ino, there.st_mtime_ns):
                found = RevokedSerials.model_validate_json(file.read_bytes())
                self._serials |= frozenset(found.serials)
                self._read = (there.st_ino, there.st_mtime_ns)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            # Rather nobody than one who was revoked.
            raise SealBrokenError(
                f"the site cannot read its list of revoked certificates, {file}: {error}; its "
                "operator may remove the file and start the site again, which then asks for it"
            ) from error
