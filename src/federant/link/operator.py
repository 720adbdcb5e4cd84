"""The operator's end of the link: submit a job, follow it, stop it, fetch its models.

Submitting, not deciding: which sites may do what is said by the server and by each site's file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import quote, urlencode

from pydantic import ValidationError

from federant.codec import FrameError, decode, encode
from federant.exchange import DXO, Shareable, from_shareable

from .digest import blob_ref
from .errors import LinkProtocolError, LinkUnavailable
from .http import CONNECT_SECONDS, READ_SECONDS, HttpCaller
from .kit import load_kit
from .messages import (
    API_PREFIX,
    MAX_WAIT_SECONDS,
    NAME_RULE,
    BlobRef,
    Done,
    EventKind,
    JobSpec,
    JobState,
    is_name,
)
from .models import Model, as_dxo
from .operator_messages import (
    EventView,
    JobDeletedReply,
    JobEventsReply,
    JobsReply,
    JobView,
    MetricsReply,
    ModelsReply,
    ModelView,
    RevocationsReply,
    RevocationView,
    RevokeRequest,
    SitesReply,
    SiteView,
    StatusReply,
)

_RETRY_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 60.0
_LATE_SECONDS: Final = 5.0
"""How long after a job's end the last metrics of its sites are waited for."""
_DELETE_SECONDS: Final = 600.0
"""Of a job with millions of metrics."""
_PAGE: Final = 10_000
"""How many events are asked for at once where all are wanted."""
_BEHIND_ALL: Final = 1 << 62
"""After it comes no event: who asks for what does is told of the job's end, and of nothing else."""

LOCAL_SERVER: Final = "http://127.0.0.1:8750"
"""Where a server without TLS listens if it is told nothing else."""


def connect(
    url: str | None = None,
    *,
    kit: str | os.PathLike[str] | None = None,
    connect_seconds: float = CONNECT_SECONDS,
    read_seconds: float = READ_SECONDS,
) -> Federation:
    """The federation whose server is at ``url``, such as ``https://federation.example:8750``.

    ``kit`` is the folder of an operator's startup kit; it says where the server is, if ``url`` does
    not.  Nothing is sent yet.  LinkConfigError, a ValueError, for an address or a kit that cannot
    be used.
    """
    own = None if kit is None else load_kit(Path(kit))
    if url is None:
        url = own.server if own else LOCAL_SERVER
    return Federation(
        HttpCaller(
            url,
            kit=own,
            connect_seconds=connect_seconds,
            read_seconds=read_seconds,
            connections=4,
        )
    )


class Federation:
    """A server as its operator sees it.  Thread-safe.

    Each call is tried once: LinkUnavailable says that the server gave no answer, LinkRefused that
    it said no, and why.
    """

    def __init__(self, http: HttpCaller) -> None:
        self._http = http

    @property
    def url(self) -> str:
        return self._http.url

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self,
        *,
        trainer: str,
        workflow: str = "fedavg",
        name: str | None = None,
        sites: Sequence[str] = (),
        initial_model: Model | None = None,
        params: Mapping[str, Any] | None = None,
        sinks: Sequence[str] = (),
        job_id: str | None = None,
        **more_params: Any,
    ) -> Job:
        """Hand in a job; ``params`` and further keywords (``rounds=10``) are the workflow's own.

        ``trainer`` is the name under which each site's file lists what to start.  No ``sites``
        means all that the server knows or comes to know, each from when it is ready.  ``sinks`` are
        where the job's metrics go on to (a ``SinkName`` each, such as ``"tensorboard"``); what each
        is like, and which there are, is the server's affair: LinkRefused.  Handing the same job in
        twice under one ``job_id`` (a ``Name``) makes one job; without it the server chooses an id.
        ValueError for what can be no job, such as a bad name of a site.
        """
        for word, given in (("sites", sites), ("sinks", sinks)):
            if isinstance(given, str):
                raise TypeError(f"{word} must be a sequence of names, got the str {given!r}")
        if job_id is not None and not is_name(job_id):
            raise ValueError(f"job_id must be {NAME_RULE}; got {job_id!r}")
        blob = None if initial_model is None else self._put(as_dxo(initial_model))
        try:
            spec = JobSpec(
                name=name or f"{workflow}-{trainer}",
                workflow=workflow,
                params={**(params or {}), **more_params},
                trainer=trainer,
                sites=tuple(sites),
                initial_model=blob,
                sinks=tuple(sinks),  # type: ignore[arg-type]  # made a SinkName, or refused
            )
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc']))} {problem['input']!r}: {problem['msg']}"
                for problem in error.errors(include_url=False)
            )
            raise ValueError(f"this can be no job: {problems}") from error
        query = "" if job_id is None else "?" + urlencode({"id": job_id})
        view = self._http.call("POST", f"{API_PREFIX}/jobs{query}", JobView, spec)
        return Job(self._http, view.id)

    def job(self, job_id: str) -> Job:
        """The job with this id; asks the server, LinkRefused if there is none."""
        job = Job(self._http, job_id)
        job.view()
        return job

    def jobs(self) -> tuple[JobView, ...]:
        """All jobs that the server keeps, the oldest first."""
        return self._http.call("GET", f"{API_PREFIX}/jobs", JobsReply).jobs

    def sites(self) -> tuple[SiteView, ...]:
        """All sites that have ever said hello to the server."""
        return self._http.call("GET", f"{API_PREFIX}/sites", SitesReply).sites

    def status(self) -> StatusReply:
        """How the federation stands: its server, jobs and sites, and when certificates end."""
        return self._http.call("GET", f"{API_PREFIX}/status", StatusReply)

    def revoke(self, serial: str, reason: str = "") -> RevocationView:
        """Let the certificate of this serial number (hexadecimal) be good no more, for ever.

        Who is connected with it is cut off at once.  Doing it again gives the first revocation.
        LinkRefused with code ``conflict`` for the certificate with which this is asked, and for the
        server's own.  ValueError for what is no serial number.
        """
        try:
            body = RevokeRequest(serial=_plain_serial(serial), reason=reason)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            raise ValueError(
                f"{serial!r} cannot be revoked: {'.'.join(map(str, problem['loc']))}: "
                f"{problem['msg']}; a serial number is up to 40 hexadecimal digits, as federant "
                "provision serials lists them"
            ) from error
        return self._http.call("POST", f"{API_PREFIX}/revocations", RevocationView, body)

    def revocations(self) -> tuple[RevocationView, ...]:
        """Every certificate that was revoked, the oldest revocation first."""
        return self._http.call("GET", f"{API_PREFIX}/revocations", RevocationsReply).revocations

    def _put(self, model: DXO) -> BlobRef:
        frame = encode(model)
        blob = blob_ref(frame.chunks())
        query = urlencode({"offset": 0, "size": blob.size})
        path = f"{API_PREFIX}/blobs/{blob.digest}?{query}"
        self._http.send(path, frame.chunks(), blob.size, Done)
        return blob


class Job:
    """One job at the server.  Thread-safe; keeps nothing but the id."""

    def __init__(self, http: HttpCaller, job_id: str) -> None:
        self._http = http
        self._path = f"{API_PREFIX}/jobs/{quote(job_id, safe='')}"
        self.id = job_id

    def __repr__(self) -> str:
        return f"Job({self.id!r} at {self._http.url})"

    def view(self) -> JobView:
        """All that the server tells about the job now."""
        return self._http.call("GET", self._path, JobView)

    def state(self) -> JobState:
        return self.view().state

    def events(
        self, after: int = 0, wait: float = 0.0, *, late_seconds: float = 0.0
    ) -> JobEventsReply:
        """Metrics and texts after the event ``after``; waits up to ``wait`` seconds for the first.

        The job's end ends the wait; with ``late_seconds`` the end is when its sites have left it
        too, at the latest so many seconds later.  Ask again with ``after=reply.next``.
        """
        wait = min(wait, MAX_WAIT_SECONDS)
        query = urlencode({"after": after, "wait_seconds": wait, "late_seconds": late_seconds})
        return self._http.call(
            "GET", f"{self._path}/events?{query}", JobEventsReply, wait_seconds=wait
        )

    def follow(
        self, timeout: float | None = None, *, patience: float = _PATIENCE_SECONDS
    ) -> Iterator[EventView]:
        """Events from the first on, as they happen, until the job has ended, also at its sites.

        What a trainer logged last may come after the last result: sites that are still at it are
        waited for, a few seconds at most.  A server that is away (restarting, say) is waited for,
        ``patience`` seconds at most.  TimeoutError if the job has not ended ``timeout`` seconds
        after the call.
        """
        for reply in self.replies(timeout, patience=patience):
            yield from reply.events

    def replies(
        self,
        timeout: float | None = None,
        *,
        after: int = 0,
        patience: float = _PATIENCE_SECONDS,
        every: float = MAX_WAIT_SECONDS,
        late_seconds: float = _LATE_SECONDS,
    ) -> Iterator[JobEventsReply]:
        """The same in the batches in which they come, at the latest each ``every`` seconds.

        So one may be empty: for those who look at something else as well.  Only events behind the
        place ``after`` are told.  Sites are waited for ``late_seconds`` after the job's end.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        away_until: float | None = None
        late_seconds, late = max(0.0, late_seconds), 0.0
        while True:
            left = MAX_WAIT_SECONDS if deadline is None else deadline - time.monotonic()
            # That the late ones have had their time wakes nobody.
            wait = max(0.0, min(left, every, late or every))
            try:
                reply = self.events(after, wait, late_seconds=late)
            except LinkUnavailable:
                now = time.monotonic()
                away_until = now + patience if away_until is None else away_until
                if now >= away_until or (deadline is not None and now >= deadline):
                    raise
                # Nothing tells that a server is there again: one can but try.
                time.sleep(_RETRY_SECONDS)
                continue
            away_until = None
            if not late or reply.events:
                yield reply
            after = reply.next
            if reply.job_state.ended:
                over = late == late_seconds and (not reply.more or left <= 0)
                if over and not reply.events:
                    return
                late = late_seconds  # from now on: that the job has ended is told at once
            elif left <= 0:
                raise TimeoutError(
                    f"job {self.id} is {reply.job_state.value} after {timeout} s; wait longer, or "
                    "stop it"
                )

    def wait(self, timeout: float | None = None) -> JobView:
        """Block until the job has ended, well or not: see the answer's ``state`` and ``error``.

        TimeoutError if it has not ended in time (seconds); the job itself goes on.
        """
        for _ in self.replies(timeout, after=_BEHIND_ALL, late_seconds=0.0):
            pass
        return self.view()

    def metrics(self) -> MetricsReply:
        """The metrics so far in a few numbers by site and tag, what was lost, how its sinks are."""
        return self._http.call("GET", f"{self._path}/metrics", MetricsReply)

    def series(self, tag: str | None = None, site: str | None = None) -> Iterator[EventView]:
        """Every metric until now, in order of arrival: its ``tag``, ``step``, ``value``, ``time``.

        Of one tag and one site, if they are named; of the server itself with an empty site.
        """
        query: dict[str, Any] = {"kind": EventKind.METRIC.value, "limit": _PAGE, "after": 0}
        if tag is not None:
            query["tag"] = tag
        if site is not None:
            query["of_site"] = site
        while True:
            path = f"{self._path}/events?{urlencode(query)}"
            reply = self._http.call("GET", path, JobEventsReply)
            yield from reply.events
            if len(reply.events) < _PAGE:
                return
            query["after"] = reply.next

    def event_bytes(self, seq: int) -> bytes:
        """What the event refers to: an image as a PNG file, or the whole of a long text."""
        with self._http.receive(f"{self._path}/events/{seq}/blob") as incoming:
            return incoming.all()

    def stop(self) -> JobView:
        """Ask the server to end the job; its sites are told at once."""
        return self._http.call("POST", f"{self._path}/stop", JobView)

    def delete(self) -> JobDeletedReply:
        """Delete the job from the server for good, with its models, metrics and events.

        What its sinks were given stays where they keep it.  Its id is never given to another job.
        Returns when all of it is gone, which may take a minute if there were millions of metrics;
        after LinkUnavailable it goes on at the server.  LinkRefused with code ``conflict`` for a
        job that has not ended, with ``not_found`` for one that is not there.
        """
        return self._http.call("DELETE", self._path, JobDeletedReply, wait_seconds=_DELETE_SECONDS)

    def models(self) -> tuple[ModelView, ...]:
        """The global models that the workflow has kept, by round (from 0)."""
        return self._http.call("GET", f"{self._path}/models", ModelsReply).models

    def model(self, round: int | Literal["latest"] = "latest") -> DXO:
        """The global model after a round (from 0); its arrays are read-only views of what came."""
        path = f"{self._path}/models/{round}"
        try:
            body = decode(self.model_bytes(round)).body
        except FrameError as error:
            raise LinkProtocolError(f"what {path} answered is no model: {error}") from error
        if isinstance(body, Shareable):
            body = from_shareable(body)
        if not isinstance(body, DXO):
            raise LinkProtocolError(f"what {path} answered is a {type(body).__name__}, no DXO")
        return body

    def model_bytes(self, round: int | Literal["latest"] = "latest") -> bytes:
        """The same as the bytes of a safetensors file."""
        with self._http.receive(f"{self._path}/models/{round}") as incoming:
            return incoming.all()


def _plain_serial(text: str) -> str:
    """As the server writes it, of what other tools write: ``0A:9F``, ``0x0a9f``."""
    digits = text.strip().lower().replace(":", "").removeprefix("0x")
    return digits.lstrip("0")
