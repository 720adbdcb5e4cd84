"""The site's end of the link: one method a call; decides nothing about when to call or retry."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from .behind import Behind
from .digest import Buffer, Hasher
from .errors import LinkProtocolError, LinkRefused, LinkUnavailable
from .http import CHUNK_BYTES, CONNECT_SECONDS, READ_SECONDS, HttpCaller
from .kit import Kit
from .messages import (
    FEATURES,
    LINK_PREFIX,
    MAX_EVENTS,
    MAX_MESSAGE_BYTES,
    MAX_TEXT_CHARS,
    SITE_HEADER,
    VERSION,
    BlobRef,
    Done,
    ErrorCode,
    Event,
    EventsRequest,
    HelloReply,
    HelloRequest,
    MissingBlob,
    MissingReply,
    MissingRequest,
    NextJobsReply,
    NextJobsRequest,
    NextTaskReply,
    NextTaskRequest,
    RenewReply,
    RenewRequest,
    ResultReply,
    ResultRequest,
    SiteJob,
    SiteJobState,
    SiteState,
    SiteStateRequest,
)
from .patience import Patience

_Reply = TypeVar("_Reply", bound=BaseModel)

_ASK_FIRST_BYTES: Final = 256 * 1024
"""A blob of at least that size is worth a question before it is sent."""

_OFFSET_TRIES: Final = 3

_CHAR_BYTES: Final = 6
"""The most that JSON needs for a character: ``\\u0000``."""
_BARE_EVENT_BYTES: Final = 256
"""More than an event without any text takes."""


class LinkClient:
    """What a site says to its server.  Thread-safe; a long poll never holds another call up.

    A call that waits at the server may be answered sooner than asked for: where something between
    cuts connections on which nothing moves, the waits are shortened until it no longer does.

    Every call has the same effect when it is made twice, and is tried once: ``LinkUnavailable``
    means try again later, ``LinkRefused`` that the answer is no, ``LinkProtocolError`` that the
    other side is no server of this version.
    """

    def __init__(
        self,
        url: str,
        site: str,
        *,
        kit: Kit | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        read_seconds: float = READ_SECONDS,
        connections: int = 16,
    ) -> None:
        self.site = site
        self._patience = Patience()
        self._http = HttpCaller(
            url,
            {SITE_HEADER: site},
            kit=kit,
            connect_seconds=connect_seconds,
            read_seconds=read_seconds,
            connections=connections,
        )

    @property
    def url(self) -> str:
        return self._http.url

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> LinkClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- jobs -------------------------------------------------------------------------------

    def hello(self, instance: str) -> HelloReply:
        """Say who this is; ``instance`` names the place where the site's daemon works.

        LinkRefused with code ``conflict`` while another instance of the site is alive.
        """
        body = HelloRequest(version=VERSION, features=FEATURES, site=self.site, instance=instance)
        return self._post("hello", HelloReply, body)

    def next_jobs(
        self, known: Mapping[str, SiteJobState], wait_seconds: float
    ) -> tuple[SiteJob, ...]:
        """The site's jobs, as soon as they differ from ``known`` or the time is over.

        Jobs that have ended are told only if they are among ``known``.
        """
        return self.next_news(known, wait_seconds).jobs

    def next_news(
        self,
        known: Mapping[str, SiteJobState],
        wait_seconds: float,
        revocations: str | None = None,
    ) -> NextJobsReply:
        """As ``next_jobs``, or as soon as more is revoked than in that version of the revocations.

        None: those are not asked for.
        """
        with self._patience.waiting(wait_seconds) as wait_seconds:
            body = NextJobsRequest(
                known=dict(known), wait_seconds=wait_seconds, revocations=revocations
            )
            return self._post("jobs/next", NextJobsReply, body, wait_seconds=wait_seconds)

    def report_site_state(self, job_id: str, state: SiteState, text: str = "") -> None:
        """Say how the site stands with a job; of a text that is too long, the end."""
        body = SiteStateRequest(state=state, text=text[-MAX_TEXT_CHARS:])
        self._post(f"jobs/{job_id}/site-state", Done, body)

    # ---- tasks ------------------------------------------------------------------------------

    def next_task(
        self,
        job_id: str,
        holder: str,
        *,
        holding: Collection[str] = (),
        lease_seconds: float = 60.0,
        wait_seconds: float = 0.0,
    ) -> NextTaskReply:
        """The next task that is not in ``holding``, leased to ``holder``.

        Without one, the answer comes when the job's state is no longer ``running`` or the time is
        over.
        """
        path = f"jobs/{job_id}/tasks/next"
        with self._patience.waiting(wait_seconds) as wait_seconds:
            body = NextTaskRequest(
                holder=holder,
                holding=tuple(holding),
                lease_seconds=lease_seconds,
                wait_seconds=wait_seconds,
            )
            return self._post(path, NextTaskReply, body, wait_seconds=wait_seconds)

    def renew(
        self, task_id: str, holder: str, *, lease_seconds: float = 60.0, wait_seconds: float = 0.0
    ) -> RenewReply:
        """Keep the lease; answers early when the task is no longer to be done by the holder."""
        path = f"tasks/{task_id}/renew"
        with self._patience.waiting(wait_seconds) as wait_seconds:
            body = RenewRequest(
                holder=holder, lease_seconds=lease_seconds, wait_seconds=wait_seconds
            )
            return self._post(path, RenewReply, body, wait_seconds=wait_seconds)

    def commit_result(
        self,
        task_id: str,
        attempt: int,
        rc: str,
        headers: Mapping[str, Any] | None = None,
        blob: BlobRef | None = None,
    ) -> ResultReply:
        """Hand in a result, whose blob has been put before.  After any answer it may be forgotten.

        LinkRefused with code ``blob_missing`` if the blob is not there (any more): put it again.
        """
        body = ResultRequest(attempt=attempt, rc=rc, headers=dict(headers or {}), blob=blob)
        return self._post(f"tasks/{task_id}/result", ResultReply, body)

    def add_events(self, job_id: str, events: Sequence[Event]) -> None:
        """Hand in metrics and texts, each of which counts once by its id.

        More than fit into one message go in several; after an error, hand all of them in again.
        """
        if len(events) > 1 and not _fit(events):
            half = len(events) // 2
            self.add_events(job_id, events[:half])
            self.add_events(job_id, events[half:])
            return
        self._post(f"jobs/{job_id}/events", Done, EventsRequest(events=tuple(events)))

    # ---- blobs ------------------------------------------------------------------------------

    def missing_blobs(self, blobs: Sequence[BlobRef]) -> tuple[MissingBlob, ...]:
        """Those that the server does not have from this site, and how much of each it has."""
        return self._post("blobs/missing", MissingReply, MissingRequest(blobs=tuple(blobs))).missing

    def put_blob(self, blob: BlobRef, chunks: Callable[[int], Iterable[Buffer]]) -> None:
        """Send a blob unless it is there, going on where an earlier transfer was cut.

        ``chunks(offset)`` yields the blob's bytes from ``offset`` on.
        """
        offset = 0
        for last in (False,) * (_OFFSET_TRIES - 1) + (True,):
            if blob.size >= _ASK_FIRST_BYTES:
                missing = self.missing_blobs([blob])
                if not missing:
                    return
                offset = missing[0].offset
            path = f"{LINK_PREFIX}/blobs/{blob.digest}?offset={offset}&size={blob.size}"
            try:
                self._http.send(path, chunks(offset), blob.size - offset, Done)
            except LinkRefused as error:
                # The partial file went away, or another transfer had moved on in it.
                if last or error.code != ErrorCode.BLOB_OFFSET:
                    raise
            else:
                return

    def read_blob(self, blob: BlobRef) -> bytearray:
        """The blob's bytes, digest checked; goes on after a cut for as long as bytes come."""
        data = bytearray(blob.size)
        hasher = Hasher()
        while hasher.size < blob.size:
            before = hasher.size
            rest = memoryview(data)[before:]
            places = (rest[at : at + CHUNK_BYTES] for at in range(0, len(rest), CHUNK_BYTES))
            try:
                self._receive(blob, before, places, hasher.update)
            except LinkUnavailable:
                if hasher.size == before:
                    raise
        _check(blob, hasher, self.url)
        return data

    def download_blob(self, blob: BlobRef, path: Path) -> None:
        """Put the blob's bytes into a file, digest checked; called again, it goes on after a cut.

        Until it is complete the file is called ``path`` with ``.part`` behind it.
        """
        part = path.with_name(path.name + ".part")
        hasher = Hasher()
        with part.open("a+b", buffering=0) as file:
            file.seek(0)
            while chunk := file.read(CHUNK_BYTES):
                hasher.update(chunk)

            def keep(chunk: memoryview) -> None:
                file.write(chunk)
                hasher.update(chunk)

            if hasher.size < blob.size:
                buffers = [memoryview(bytearray(CHUNK_BYTES)) for _ in range(2)]
                self._receive(blob, hasher.size, itertools.cycle(buffers), keep)
        try:
            _check(blob, hasher, self.url)
        except LinkProtocolError:
            part.unlink()
            raise
        part.replace(path)

    def _receive(
        self,
        blob: BlobRef,
        start: int,
        places: Iterable[memoryview],
        keep: Callable[[memoryview], None],
    ) -> None:
        """Have the blob's bytes from ``start`` on put into the places, and what came kept.

        One place is filled while the one before is seen to.
        """
        with Behind(keep) as behind:
            # What fits into one place needs no thread.
            take = behind.take if blob.size - start > CHUNK_BYTES else keep
            for chunk in self._chunks(blob, start, places):
                take(chunk)

    def _chunks(
        self, blob: BlobRef, start: int, places: Iterable[memoryview]
    ) -> Iterator[memoryview]:
        with self._http.receive(f"{LINK_PREFIX}/blobs/{blob.digest}", start) as incoming:
            left = blob.size - start
            for place in places:
                wanted = place[:left]
                count = incoming.fill(wanted)
                left -= count
                yield wanted[:count]
                if not left:
                    break
                if count < len(wanted):
                    raise LinkUnavailable(
                        f"blob {blob.digest} from {self.url} was cut {left} bytes short"
                    )
            if incoming.fill(memoryview(bytearray(1))):
                raise LinkProtocolError(
                    f"blob {blob.digest} from {self.url} has more than {blob.size} bytes"
                )

    def _post(
        self, path: str, reply: type[_Reply], body: BaseModel, *, wait_seconds: float = 0.0
    ) -> _Reply:
        return self._http.call(
            "POST", f"{LINK_PREFIX}/{path}", reply, body, wait_seconds=wait_seconds
        )


def _fit(events: Sequence[Event]) -> bool:
    """Whether the events certainly fit into one message, however JSON has to write their texts."""
    chars = sum(
        len(event.id) + len(event.kind) + len(event.tag) + len(event.text) + len(event.task)
        for event in events
    )
    most = _CHAR_BYTES * chars + _BARE_EVENT_BYTES * len(events)
    return len(events) <= MAX_EVENTS and most <= MAX_MESSAGE_BYTES - _BARE_EVENT_BYTES


def _check(blob: BlobRef, hasher: Hasher, url: str) -> None:
    found = hasher.ref()
    if found != blob:
        raise LinkProtocolError(
            f"what {url} sent as blob {blob.digest} ({blob.size} bytes) has the digest "
            f"{found.digest} ({found.size} bytes); it was thrown away"
        )
