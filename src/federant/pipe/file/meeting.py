"""How the passive end of a FilePipe holds its channel and finds those who want to meet it."""

import contextlib
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from federant.pipe.base import Mode
from federant.pipe.errors import PipeBusyError
from federant.pipe.file.life import ALIVE, Alive, NoCardError, PeerLife, Terms, read_card
from federant.pipe.file.link import BYE, LINK, Bye, FileLink
from federant.pipe.file.place import FilePlace, remove_tree

logger = logging.getLogger(__name__)

TAKEN: Final = "taken"
"""The channel's folder for messages that the passive end has taken and not released yet."""

_HOLDER: Final = "holder"
_OURS: Final = frozenset({_HOLDER, TAKEN, "quarantine"})


class Hall:
    """The channel's folder, as the passive end sees it. Used under the pipe's lock."""

    def __init__(self, place: FilePlace, terms: Terms) -> None:
        self._place = place
        self._terms = terms
        self._alive: Alive | None = None
        self._waiting: dict[str, PeerLife] = {}
        self._lost = False

    # -- holding the channel -----------------------------------------------------------------------

    def open(self, keep: Collection[Path]) -> None:
        """Takes the channel; PipeBusyError if another live process under this kernel holds it.

        One of another host is taken over from: whether it lives cannot be known at once. What dead
        processes left is removed, but for the taken files in `keep`.
        """
        self._lost = False
        self._take_hold()
        try:
            for path in self.taken().iterdir():
                if path not in keep:
                    path.unlink(missing_ok=True)
            self._clear_beginnings()
            self.newcomer(meet=False)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for life in self._waiting.values():
            life.close()
        self._waiting.clear()
        if self._alive is not None:
            if self._holds():
                self._holder.unlink(missing_ok=True)
            self._alive.close()
            self._alive = None
        with contextlib.suppress(OSError):
            (self._place.folder / TAKEN).rmdir()

    def abandon_in_child(self) -> None:
        for held in (self._alive, *self._waiting.values()):
            if held is not None:
                held.close()

    def taken(self) -> Path:
        return self._place.make(self._place.folder / TAKEN)

    @property
    def _holder(self) -> Path:
        return self._place.folder / _HOLDER

    def _take_hold(self) -> None:
        folder = self._place.make()
        other = None
        with contextlib.suppress(OSError, NoCardError):
            other = PeerLife(folder, _HOLDER, self._terms)
        if other is not None:
            died = other.death()
            other.close()
            if other.awake and not died:
                raise PipeBusyError(
                    f"process {other.card.pid} holds {self._place}: one client job has a channel; "
                    "let it end first, or give each a folder of its own (in a site's file: {job} "
                    "in pipe_folder)"
                )
        hidden = folder / f".{_HOLDER}-{os.getpid()}-{id(self):x}"
        hidden.unlink(missing_ok=True)
        self._alive = self._place.until_it_stays(lambda: Alive(self._place.make() / hidden.name))
        hidden.rename(self._holder)

    def _holds(self) -> bool:
        try:
            return self._alive is not None and read_card(self._holder).id == self._alive.card.id
        except (OSError, NoCardError):
            return False

    def _still_holds(self) -> bool:
        """False, and said once, if a client job elsewhere has taken the channel over.

        OSError if that cannot be seen now.
        """
        if self._lost:
            return False
        try:
            ours = self._alive is not None and read_card(self._holder).id == self._alive.card.id
        except FileNotFoundError:  # somebody cleared the folder away
            if self._alive is not None:
                self._alive.close()
            self._take_hold()
            return True
        except NoCardError:
            ours = False
        if not ours:
            self._lost = True
            logger.error(
                "another client job has taken the channel over pipe=%s holder=%s",
                *(self._place, self._holder),
            )
        return ours

    def _clear_beginnings(self) -> None:
        """Removes what processes had begun to make when they died, before anybody could see it."""
        folder = self._place.folder
        for path in folder.glob(".link-*"):
            if self._is_dead(path / "to_passive", ALIVE):
                remove_tree(path)
        for path in folder.glob(f".{_HOLDER}-*"):
            if self._is_dead(folder, path.name):
                path.unlink(missing_ok=True)

    def _is_dead(self, folder: Path, card_name: str) -> bool:
        """Whether a lock says so."""
        try:
            life = PeerLife(folder, card_name, self._terms)
        except (OSError, NoCardError):
            return False
        dead = life.by_lock and bool(life.death())
        life.close()
        return dead

    # -- meeting -----------------------------------------------------------------------------------

    def newcomer(self, *, meet: bool = True) -> FileLink | None:
        """The meeting with an active end that waits and lives; clears away what dead ones left."""
        if not self._still_holds():
            return None
        folder = self._place.folder
        here = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        for name in set(self._waiting) - {path.name for path in here}:
            self._waiting.pop(name).close()
        came = []
        for path in here:
            if LINK.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                life = self._look_at(path)
                if life is not None and life.awake:
                    came.append(path)
            elif path.name not in _OURS:
                self._place.set_aside(path, "it is no part of a pipe")
        for path in came if meet else ():
            link, life = FileLink(path, Mode.PASSIVE, self._terms), self._waiting.pop(path.name)
            try:
                link.greet(life)
            except OSError as error:
                life.close()
                logger.info("not met, it may be gone folder=%s error=%s", path, error)
            else:
                return link
        return None

    def _look_at(self, path: Path) -> PeerLife | None:
        """Whoever waits there for a client job; None if nobody does."""
        link = FileLink(path, Mode.PASSIVE, self._terms)
        if (link.outbox / BYE).exists():
            return None  # it was told already that there is nothing for it here
        life = self._waiting.get(path.name)
        if life is None:
            try:
                life = PeerLife(link.inbox, ALIVE, self._terms)
            except FileNotFoundError:
                return None  # it was taken away just now
            except (OSError, NoCardError) as error:
                self._refuse(link, error)
                return None
            self._waiting[path.name] = life
        if life.death() or (link.inbox / BYE).exists():
            self._waiting.pop(path.name).close()
            link.remove()
            return None
        if (link.outbox / ALIVE).exists():
            # It has met a client job that is no more: it shall offer itself anew.
            link.say_bye(Bye("another client job has taken the channel over", clean=False))
            return None
        return life

    def _refuse(self, link: FileLink, error: Exception) -> None:
        if (link.folder / "aside").is_dir():
            logger.warning("peer refused pipe=%s folder=%s why=%s", self._place, link.folder, error)
            link.say_bye(Bye(str(error), clean=False, final=True))
        else:
            self._place.set_aside(link.folder, str(error))
