"""Where a FilePipe's channel lies in the shared folder: its folders, junk, and bad moments."""

import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

from federant.pipe.base import Mode

logger = logging.getLogger(__name__)

QUARANTINED: Final = 100
"""How many things are set aside at most; further ones stay where they are."""
_LARGEST: Final = 1 << 20
_TRIES: Final = 100

T = TypeVar("T")


class FilePlace:
    """One end of a channel, the folders that it made, and the corner for what is not ours."""

    def __init__(self, root: Path, mode: Mode) -> None:
        self.root = root
        self.mode = mode
        self.channel = ""
        self._made: list[Path] = []
        self._left_alone: set[Path] = set()
        self._trouble = ""

    @property
    def folder(self) -> Path:
        return self.root / self.channel

    @property
    def quarantine(self) -> Path:
        return self.folder / "quarantine"

    def make(self, folder: Path | None = None) -> Path:
        """Makes the folder, by default the channel's, and notes what had to be made."""
        folder = self.folder if folder is None else folder
        self.until_it_stays(lambda: self._make(folder))
        return folder

    def _make(self, folder: Path) -> None:
        missing = []
        above = folder
        while not above.is_dir():
            missing.append(above)
            above = above.parent
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):  # the other end makes it too
                path.mkdir(mode=0o700)
                self._made.append(path)

    def until_it_stays(self, act: Callable[[], T]) -> T:
        """Acts again where a folder vanishes meanwhile: an end that leaves may take down an empty
        one that the other end has just found."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(FileNotFoundError):
                return act()
        return act()

    def take_down(self) -> None:
        """Removes the channel's folder, which the last one to leave finds empty, whoever made it,
        and of all others those that this end made, if they are empty."""
        folders = sorted({*self._made, self.folder}, key=lambda path: len(path.parts))
        for path in reversed(folders):
            with contextlib.suppress(OSError):
                path.rmdir()
        self._made.clear()

    def set_aside(self, path: Path, why: str) -> None:
        """Moves junk into the quarantine, where a person may look at it."""
        if path in self._left_alone:
            return
        try:
            self.make(self.quarantine)
            if sum(1 for _ in self.quarantine.iterdir()) >= QUARANTINED:
                raise OSError(f"{QUARANTINED} things lie in {self.quarantine} already")  # noqa: TRY301
            target = self.quarantine / f"{path.name[:100]}-{uuid.uuid4().hex[:8]}"
            path.rename(target)
        except FileNotFoundError:
            return  # somebody has taken it away meanwhile
        except OSError as error:
            self._left_alone.add(path)
            logger.warning("junk left alone path=%s why=%s error=%s", path, why, error)
        else:
            logger.warning("junk set aside path=%s now=%s why=%s", path, target, why)

    def discard(self, path: Path, why: str) -> None:
        """The same for what a peer sent and nobody can read; what is large is removed."""
        with contextlib.suppress(OSError):
            if path.stat().st_size <= _LARGEST:
                self.set_aside(path, why)
            path.unlink()

    def note_trouble(self, error: OSError) -> None:
        """A file system over a network has its moments, told once: the next look may be better."""
        if str(error) != self._trouble:
            self._trouble = str(error)
            logger.warning("the folder cannot be used pipe=%s error=%s", self, error)

    def trouble_is_over(self) -> None:
        self._trouble = ""

    def __str__(self) -> str:
        return f"file pipe {self.root} channel={self.channel!r} mode={self.mode}"


def write_new(path: Path, pieces: Iterable[memoryview]) -> None:
    """A new file of these bytes, or none; FileNotFoundError if its folder is gone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for piece in pieces:
            rest = piece
            while rest:
                rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Removes a folder of ours, whatever lies in it; the other end may be at it too."""
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    logger.warning("folder not removed path=%s", folder)
