"""What a sink is to whoever feeds it; no sink lives here."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from federant.link.messages import SERVER_NAME, EventKind
from federant.server.blobs import BlobStore
from federant.server.state import EventRow, JobRow

_NOT_LOGGED: Final = frozenset({EventKind.STATUS, EventKind.DROPPED})

_SECRET_IN_ADDRESS: Final = re.compile(r"(?<=://)[^/\s]*@")

Place = Mapping[str, Any]
"""A sink's note of how far it is, as JSON has it."""


class Sink(ABC):
    """Takes the events of jobs in their order; used by one thread.

    It may raise anything: then the same events come again later, after a while, and perhaps to
    another object in another process.
    """

    @abstractmethod
    def write(self, job: JobRow, events: Sequence[EventRow], place: Place) -> Place:
        """Take all of these events, and return the note that comes with the next ones.

        The note is kept in one transaction with how far the sink has come: a sink that finds more
        in its own place than ``place`` says has been stopped in between.
        """

    def finish(self, job: JobRow, place: Place) -> None:
        """The job has ended, and this was all of it."""

    def end_soon(self) -> None:
        """The server stops, whatever the sink is doing: called by another thread, before close().

        Nothing that the sink has started may then hold up the end of the process for long.
        """

    def close(self) -> None:
        """The server stops; it may go on with every job when it is started again."""


def logged(events: Iterable[EventRow]) -> list[EventRow]:
    """Those that a trainer or workflow has logged; the others are for whoever watches the job."""
    return [event for event in events if event.kind not in _NOT_LOGGED]


def by_site(events: Iterable[EventRow]) -> dict[str, list[EventRow]]:
    """The events of each site, in their order; the workflow's own under SERVER_NAME."""
    found: dict[str, list[EventRow]] = {}
    for site, group in groupby(events, key=lambda event: event.site or SERVER_NAME):
        found.setdefault(site, []).extend(group)
    return found


def whole_text(blobs: BlobStore, event: EventRow) -> str:
    """The event's text, also where it is so long that the event has only its beginning."""
    if event.blob is None or event.kind == EventKind.IMAGE:
        return event.text
    return blobs.path(event.blob.digest).read_bytes().decode("utf-8", "replace")


def shortened(name: str, size: int) -> str:
    """The name in at most so many bytes; a digest makes up for what is cut off."""
    if len(name.encode()) <= size:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    begin = name.encode()[: size - 1 - len(digest)].decode(errors="ignore")
    return f"{begin.rstrip('/. ')}-{digest}"


def words_of(error: BaseException) -> str:
    """What a library says of an error, without a password in the address that it names."""
    return _SECRET_IN_ADDRESS.sub("***@", f"{type(error).__name__}: {error}")
