"""What a sink is to whoever feeds it; no sink lives here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from federant.link.messages import BlobRef, EventKind
from federant.server.blobs import BlobStore
from federant.server.state import EventRow, JobRow

SERVER: Final = "server"
"""Whose metrics those are that the workflow itself told of."""

_NOT_LOGGED: Final = frozenset({EventKind.STATUS, EventKind.DROPPED})

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

    def finish(self, job: JobRow, place: Place) -> None:  # noqa: B027 - most have nothing to do
        """The job has ended, and this was all of it."""

    def close(self) -> None:  # noqa: B027 - most have nothing to do
        """The server stops; it may go on with every job when it is started again."""


def logged(events: Iterable[EventRow]) -> list[EventRow]:
    """Those that a trainer or workflow has logged; the others are for whoever watches the job."""
    return [event for event in events if event.kind not in _NOT_LOGGED]


def by_site(events: Iterable[EventRow]) -> dict[str, list[EventRow]]:
    """The events of each site, in their order; the workflow's own under SERVER."""
    found: dict[str, list[EventRow]] = {}
    for site, group in groupby(events, key=lambda event: event.site or SERVER):
        found.setdefault(site, []).extend(group)
    return found


def blob_bytes(blobs: BlobStore, blob: BlobRef) -> bytes:
    return blobs.path(blob.digest).read_bytes()


def whole_text(blobs: BlobStore, event: EventRow) -> str:
    """The event's text, also where it is so long that the event has only its beginning."""
    if event.blob is None or event.kind == EventKind.IMAGE:
        return event.text
    return blob_bytes(blobs, event.blob).decode("utf-8", "replace")
