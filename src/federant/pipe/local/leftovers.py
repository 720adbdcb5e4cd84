"""Which spool files this end of a LocalPipe has still to read, and clearing away the rest."""

from collections.abc import Collection
from pathlib import Path

from federant.spool import reclaim


class Leftovers:
    """Files of peers, by folder; what a dead peer left and nobody is to read is taken away."""

    def __init__(self, keep: Collection[Path]) -> None:
        """keep: files that are never taken away here."""
        self._keep = frozenset(keep)
        self._wanted: dict[Path, set[str]] = {}

    def meet(self, folder: Path) -> None:
        """A peer writes into this folder from now on."""
        self._wanted.setdefault(folder, set())

    def want(self, folder: Path, name: str) -> None:
        self._wanted.setdefault(folder, set()).add(name)

    def done(self, folder: Path, name: str) -> None:
        """The file is read, or mapped: its name is not needed any more."""
        self._wanted.get(folder, set()).discard(name)

    def clear(self, folder: Path) -> None:
        """Takes away what may go of the folder, if its owner is gone."""
        kept = {path.name for path in self._keep if path.parent == folder}
        if reclaim(folder, kept | self._wanted.get(folder, set())):
            self._wanted.pop(folder, None)

    def clear_met(self) -> None:
        """The same for the folders of all peers so far."""
        for folder in list(self._wanted):
            self.clear(folder)

    def clear_all(self, spool: Path, channel: str) -> None:
        """The same for all folders of the channel, whoever wrote them."""
        for folder in spool.glob(f"{channel}-*-*"):
            self.clear(folder)
