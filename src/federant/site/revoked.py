"""What the site knows of revoked certificates, kept on its disk; how it hears of them is not here.

So its relay refuses them also while the server cannot be reached.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from federant.link.messages import RevokedSerials
from federant.site.errors import SiteConfigError
from federant.site.private_file import write_whole

_log = logging.getLogger(__name__)


def _nobody(_serials: frozenset[str]) -> None:
    """Nobody is connected."""


class RevokedCertificates:
    """Thread-safe: one thread learns of more, another asks."""

    def __init__(self, file: Path) -> None:
        """`file` need not be there yet; SiteConfigError for one that cannot be read."""
        self._file = file
        self._known = RevokedSerials(version="", serials=())
        self._serials: frozenset[str] = frozenset()
        self.cut: Callable[[frozenset[str]], None] = _nobody
        """Ends the connections made with certificates of those serial numbers."""
        try:
            if file.exists():
                self._know(RevokedSerials.model_validate_json(file.read_bytes()))
        except (OSError, ValueError) as error:
            # Rather no agent at all than one that was revoked.
            raise SiteConfigError(
                f"{file}: cannot be read as the list of revoked certificates: {error}; if the "
                "server can be reached, remove the file: the site then asks for the list again"
            ) from error

    @property
    def version(self) -> str:
        """What the server calls that which is known; empty for nothing."""
        return self._known.version

    def is_revoked(self, serial: str) -> bool:
        """Whether the certificate of that serial number is good no more."""
        return serial in self._serials

    def learn(self, told: RevokedSerials) -> None:
        """From now on refuse those, also after a restart; whoever is connected is cut off."""
        new = frozenset(told.serials) - self._serials
        self._know(told)
        if new:
            _log.info("revoked certificates=%d new=%d", len(self._serials), len(new))
            self.cut(new)
        try:
            write_whole(self._file, self._known.model_dump_json())
        except OSError as error:
            # They are refused all the same until the site is started again.
            _log.error("revoked certificates not kept file=%s error=%s", self._file, error)

    def _know(self, told: RevokedSerials) -> None:
        # One that was revoked stays so, also where a server was set up again and forgot it.
        self._serials |= frozenset(told.serials)
        self._known = told.model_copy(update={"serials": tuple(sorted(self._serials))})
