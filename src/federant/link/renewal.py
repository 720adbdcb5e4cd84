"""A kit whose files are replaced while it is in use; how certificates are renewed is not here.

Whoever copies a renewed kit over the old one need not start anything again: what is dialled or
taken next is by the new one, and connections that are open stay as they are.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import LinkConfigError
from .kit import Kit, load_kit

_log = logging.getLogger(__name__)

Mark = tuple[int, int, int]
"""What changes with a file's content."""


def marks_of(paths: Sequence[Path]) -> tuple[Mark | None, ...]:
    """Other ones than before if a file was replaced, or written to; None for one that is away."""
    return tuple(map(_mark, paths))


class CurrentContext:
    """TLS as a kit's files say it now; ``make`` reads them.  Thread-safe.

    Made, it raises what ``make`` does.  Later on a kit that is not whole, or whose key does not fit
    because half of it has been copied, is told in the log, and the one before it stays in use.
    """

    def __init__(self, kit: Kit, make: Callable[[Kit], ssl.SSLContext]) -> None:
        self._kit = kit
        self._make = make
        self._lock = threading.Lock()
        # Before they are read: what is changed meanwhile is seen as changed.
        self._marks = self._look()
        self._context = make(kit)

    def __call__(self) -> ssl.SSLContext:
        """The same object until the files change; costs three looks at the file system."""
        marks = self._look()
        if marks != self._marks:
            with self._lock:
                if marks != self._marks:
                    self._marks = marks
                    self._take_up()
        return self._context

    def _look(self) -> tuple[Mark | None, ...]:
        return marks_of((self._kit.authority, self._kit.certificate, self._kit.key))

    def _take_up(self) -> None:
        try:
            load_kit(self._kit.folder)
            self._context = self._make(self._kit)
        except LinkConfigError as error:
            _log.warning(
                "the kit of %s was changed and is of no use yet; the one before it stays in use "
                "until the whole kit is there: %s",
                self._kit.identity.title,
                error,
            )
        else:
            _log.info("took up renewed kit=%s of=%r", self._kit.folder, self._kit.identity.title)


def _mark(path: Path) -> Mark | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
