"""The operator's calls: submit, list, follow, stop and delete jobs, fetch their models."""

from __future__ import annotations

import logging
import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from federant.link.messages import (
    API_PREFIX,
    MAX_WAIT_SECONDS,
    BlobRef,
    ErrorCode,
    JobSpec,
    Name,
    SinkName,
    SiteState,
)
from federant.link.operator_messages import (
    EventView,
    JobDeletedReply,
    JobEventsReply,
    JobSiteView,
    JobsReply,
    JobView,
    MetricsReply,
    MetricView,
    ModelsReply,
    ModelView,
    SinkView,
)
from federant.server.door.refusals import RefusedError
from federant.server.retention import Retention
from federant.server.state import JobRow, ModelRow
from federant.server.wakeups import events_topic
from federant.server.workflow import sites_wanted

from .blobs import send_file
from .callers import MEANT, OPERATOR_ONLY, peer_in
from .description import GIVES_BYTES, Range
from .services import Services
from .waiting import long_poll

_log = logging.getLogger(__name__)

Seq = Annotated[int, Path(ge=0, lt=1 << 63)]
After = Annotated[int, Query(ge=0, lt=1 << 63)]
Limit = Annotated[int, Query(ge=1, le=10_000)]
LateSeconds = Annotated[float, Query(ge=0)]
WaitSeconds = Annotated[float, Query(ge=0, le=MAX_WAIT_SECONDS)]


def operator_router(services: Services, retention: Retention) -> APIRouter:
    router = APIRouter(prefix=API_PREFIX, tags=["operator"], dependencies=[OPERATOR_ONLY])
    store = services.store

    @router.post("/jobs", dependencies=[MEANT])
    def submit(spec: JobSpec, job_id: Annotated[Name | None, Query(alias="id")] = None) -> JobView:
        """Submit a job; under an ``id`` of the caller's own, the same job again is the same."""
        _require_blob(services, spec.initial_model)
        problem = services.check_job(spec)
        if problem is not None:
            raise RefusedError(ErrorCode.BAD_REQUEST, problem)
        return _view(services, store.create_job(spec, job_id))

    @router.get("/jobs")
    def jobs() -> JobsReply:
        """All jobs, the oldest first."""
        return JobsReply(jobs=tuple(_view(services, job) for job in store.jobs()))

    @router.get("/jobs/{job_id}")
    def job(job_id: str) -> JobView:
        """One job."""
        return _view(services, store.job(job_id))

    @router.post("/jobs/{job_id}/stop", dependencies=[MEANT])
    def stop(job_id: str) -> JobView:
        """Ask for a job to be stopped; one that has ended stays as it is."""
        return _view(services, store.request_stop(job_id))

    @router.delete("/jobs/{job_id}", dependencies=[MEANT])
    def delete(job_id: str, request: Request) -> JobDeletedReply:
        """Delete a job that has ended, for good, with its models, metrics and events."""
        freed = retention.delete_job(job_id)
        caller = peer_in(request)
        by = caller.identity.title if caller and caller.identity else "an operator"
        _log.info(
            "deleted job=%s by=%r models=%d events=%d bytes=%d bytes_later=%d",
            *(job_id, by, freed.models, freed.events, freed.bytes, freed.bytes_later),
        )
        return JobDeletedReply(
            job_id=job_id,
            models=freed.models,
            events=freed.events,
            bytes_freed=freed.bytes,
            bytes_later=freed.bytes_later,
        )

    @router.get("/jobs/{job_id}/events")
    async def events(
        job_id: str,
        after: After = 0,
        limit: Limit = 1000,
        wait_seconds: WaitSeconds = 0.0,
        late_seconds: LateSeconds = 0.0,
        kind: str | None = None,
        tag: str | None = None,
        of_site: str | None = None,
    ) -> JobEventsReply:
        """The job's events behind ``after``, once there are any or the job has ended.

        With ``late_seconds`` the end is when its sites have left it too, at the latest so many
        seconds later.  With ``kind``, ``tag`` or ``of_site`` only those of that kind, tag, site.
        """

        def look() -> tuple[bool, JobEventsReply]:
            # This first: what is added before the job ends, or a site leaves it, is never missed.
            job = store.job(job_id)
            over = _is_over(services, job, late_seconds)
            rows = store.events(job_id, after, limit, kind=kind, tag=tag, site=of_site)
            reply = JobEventsReply(
                events=tuple(EventView.model_validate(row, from_attributes=True) for row in rows),
                next=rows[-1].seq if rows else after,
                job_state=job.state,
                more=not over,
            )
            return bool(rows) or over, reply

        return await long_poll(services.wakeups, events_topic(job_id), wait_seconds, look)

    @router.get(
        "/jobs/{job_id}/events/{seq}/blob", response_class=StreamingResponse, responses=GIVES_BYTES
    )
    def event_blob(job_id: str, seq: Seq, part: Range = "") -> Response:
        """What an event refers to: an image as a PNG file, or the whole of a long text."""
        row = store.event(job_id, seq)
        if row.blob is None:
            raise RefusedError(
                ErrorCode.NOT_FOUND, f"event {seq} of job {job_id} refers to no blob"
            )
        return send_file(services.blobs.path(row.blob.digest), part)

    @router.get("/jobs/{job_id}/metrics")
    def metrics(job_id: str) -> MetricsReply:
        """The job's metrics summed up by site and tag, and how far its sinks are."""
        return _metrics(services, store.job(job_id))

    @router.get("/jobs/{job_id}/models")
    def models(job_id: str) -> ModelsReply:
        """The global models that the job has kept, by round."""
        return ModelsReply(models=tuple(_model_view(row) for row in _models(services, job_id)))

    @router.get(
        "/jobs/{job_id}/models/{which}", response_class=StreamingResponse, responses=GIVES_BYTES
    )
    def model(job_id: str, which: str, part: Range = "") -> Response:
        """The model of a round, or the ``latest``, as a safetensors file."""
        rows = {str(row.round): row for row in _models(services, job_id)}
        if rows:
            rows["latest"] = next(reversed(rows.values()))
        found = rows.get(which)
        if found is None:
            kept = ", ".join(rows) or "none yet"
            raise RefusedError(
                ErrorCode.NOT_FOUND, f"job {job_id} has no model {which!r}; kept: {kept}"
            )
        response = send_file(services.blobs.path(found.blob.digest), part)
        name = f"{job_id}-round-{found.round}.safetensors"
        response.headers["content-disposition"] = f'attachment; filename="{name}"'
        return response

    return router


def _is_over(services: Services, job: JobRow, late_seconds: float) -> bool:
    """Whether the job has ended, and its sites have left it or have had their time to do so."""
    if job.ended is None or time.time() - job.ended >= late_seconds:
        return job.state.ended
    return all(part.state is not SiteState.READY for part in services.store.job_sites(job.id))


def _models(services: Services, job_id: str) -> list[ModelRow]:
    services.store.job(job_id)
    return services.store.models(job_id)


def _require_blob(services: Services, blob: BlobRef | None) -> None:
    if blob is not None and services.blobs.size(blob.digest) != blob.size:
        raise RefusedError(
            ErrorCode.BLOB_MISSING,
            f"the initial model, blob {blob.digest} ({blob.size} bytes), is not there; "
            f"put it under {API_PREFIX}/blobs first",
        )


def _view(services: Services, job: JobRow) -> JobView:
    store = services.store
    step, round_step = store.newest_step(job.id), store.newest_round(job.id)
    detail = round_step.detail if round_step else {}
    awaits = step if step is not None and step.open and not job.state.ended else None
    asked = store.step_tasks(job.id, awaits.number) if awaits else []
    return JobView(
        id=job.id,
        spec=job.spec,
        state=job.state,
        stop_requested=job.stop_requested,
        error=job.error,
        step=step.number if step else None,
        round=detail.get("round"),
        total_rounds=detail.get("total_rounds"),
        sites_wanted=sites_wanted(awaits) if awaits else None,
        awaited=tuple(task.site for task in asked if task.state.open),
        sites=tuple(
            JobSiteView.model_validate(part, from_attributes=True)
            for part in store.job_sites(job.id)
        ),
        created=job.created,
        started=job.started,
        ended=job.ended,
    )


def _model_view(row: ModelRow) -> ModelView:
    return ModelView(round=row.round, blob=row.blob, metrics=dict(row.metrics), created=row.created)


def _metrics(services: Services, job: JobRow) -> MetricsReply:
    store = services.store
    cursors = [
        store.sink_cursor(job.id, sink)
        for sink in job.spec.sinks
        if sink is not SinkName.PROMETHEUS
    ]
    return MetricsReply(
        metrics=tuple(
            MetricView.model_validate(row, from_attributes=True) for row in store.metrics(job.id)
        ),
        dropped={
            part.site: part.metrics_dropped
            for part in store.job_sites(job.id)
            if part.metrics_dropped
        },
        sinks=tuple(
            SinkView(
                sink=SinkName(cursor.sink),
                behind=store.events_after(job.id, cursor.seq),
                error=cursor.error,
            )
            for cursor in cursors
        ),
    )
