"""The link's calls, all but those for blobs: hello, jobs, tasks, results, events."""

from __future__ import annotations

import hashlib
import time
from typing import Final

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from federant.exchange import HeaderKey
from federant.link.messages import (
    FEATURES,
    LINK_PREFIX,
    VERSION,
    BlobRef,
    CommitOutcome,
    Done,
    ErrorCode,
    EventsRequest,
    HelloReply,
    HelloRequest,
    HoldState,
    NextJobsReply,
    NextJobsRequest,
    NextTaskReply,
    NextTaskRequest,
    RenewReply,
    RenewRequest,
    ResultReply,
    ResultRequest,
    RevokedSerials,
    SiteJob,
    SiteJobState,
    SiteStateRequest,
    TaskMessage,
)
from federant.server.blobs import SiteSpace
from federant.server.door.refusals import RefusedError
from federant.server.state import JobRow, Store, TaskRow, TaskState
from federant.server.wakeups import site_topic, task_topic

from .callers import Site, known_version, require_version
from .services import Services
from .waiting import long_poll

_HOLD_STATES = {
    TaskState.QUEUED: HoldState.HELD,
    TaskState.LEASED: HoldState.HELD,
    TaskState.CANCELLED: HoldState.CANCELLED,
    TaskState.DONE: HoldState.DONE,
}

_COMMITTED: Final = (CommitOutcome.ACCEPTED, CommitOutcome.REFUSED)


def link_router(services: Services, space: SiteSpace) -> APIRouter:
    router = APIRouter(prefix=LINK_PREFIX, tags=["link"], dependencies=[Depends(known_version)])
    store, wakeups = services.store, services.wakeups

    @router.post("/hello")
    def hello(body: HelloRequest, site: Site) -> HelloReply:
        """A site's daemon says who it is and learns whom it speaks to."""
        require_version(str(body.version), f"site {site}")
        if body.site != site:
            raise RefusedError(
                ErrorCode.FORBIDDEN, f"site {site} may not say hello as site {body.site}"
            )
        store.seen_site(site, body.instance, body.features)
        return HelloReply(version=VERSION, features=FEATURES, server_id=services.server_id)

    @router.post("/jobs/next")
    async def next_jobs(body: NextJobsRequest, site: Site) -> NextJobsReply:
        """The site's jobs and what was revoked, once one of them differs from what it knows."""

        def look() -> tuple[bool, NextJobsReply]:
            rows = store.jobs_for_site(site, also=body.known)
            found = [_site_job(row) for row in rows]
            there = {job.job_id for job in found}
            found += [_unknown_job(job_id) for job_id in body.known if job_id not in there]
            differs = {job.job_id: job.state for job in found} != body.known
            revoked = _revoked(store, body.revocations)
            return differs or revoked is not None, NextJobsReply(jobs=tuple(found), revoked=revoked)

        await run_in_threadpool(store.seen_site, site)
        return await long_poll(wakeups, site_topic(site), body.wait_seconds, look)

    @router.post("/jobs/{job_id}/site-state")
    def site_state(job_id: str, body: SiteStateRequest, site: Site) -> Done:
        """How the site stands with a job; one that is gone has ended all its tasks by that."""
        store.set_site_state(job_id, site, body.state, body.text)
        return Done()

    @router.post("/jobs/{job_id}/tasks/next")
    async def next_task(job_id: str, body: NextTaskRequest, site: Site) -> NextTaskReply:
        """The site's next task in a job, under a lease, once there is one."""

        def look() -> tuple[bool, NextTaskReply]:
            offer = store.next_task(job_id, site, body.holder, body.holding, body.lease_seconds)
            task = None if offer.task is None else _message(offer.task)
            state = _job_state(offer.job)
            due = task is not None or state is not SiteJobState.RUNNING
            return due, NextTaskReply(task=task, job_state=state)

        return await long_poll(wakeups, site_topic(site), body.wait_seconds, look)

    @router.post("/tasks/{task_id}/renew")
    async def renew(task_id: str, body: RenewRequest, site: Site) -> RenewReply:
        """Keep a task under lease; answers early when there is nothing more to be done for it."""

        def look() -> tuple[bool, RenewReply]:
            task = store.renew(task_id, site, body.holder, body.lease_seconds)
            state = _HOLD_STATES[task.state]
            return state is not HoldState.HELD, RenewReply(state=state, reason=task.error)

        return await long_poll(wakeups, task_topic(task_id), body.wait_seconds, look)

    @router.post("/tasks/{task_id}/result")
    def result(task_id: str, body: ResultRequest, site: Site) -> ResultReply:
        """Commit a result, once it has been found valid for its task."""
        task = store.task_of_site(task_id, site)
        rc, error = body.rc, str(body.headers.get(HeaderKey.ERROR, ""))
        refused = False
        # A task that has ended takes no result: the commit says so, without another look at it.
        if task.state.open:
            path = None
            if body.blob is not None:
                if not _has_whole(services, site, body.blob):
                    raise RefusedError(
                        ErrorCode.BLOB_MISSING,
                        f"site {site} has not put blob {body.blob.digest} ({body.blob.size} "
                        f"bytes), the result of task {task_id}; put it, then commit again",
                    )
                path = services.blobs.path(body.blob.digest)
            refusal = services.check_result(task, path, rc)
            if refusal is not None:
                refused, rc, error = True, refusal.rc, refusal.text
        commit = store.commit_result(
            task_id, site, body.attempt, rc, body.headers, body.blob, error, refused=refused
        )
        if body.blob is not None and commit.outcome in _COMMITTED:
            space.committed(site, body.blob)
        return ResultReply(outcome=commit.outcome, rc=commit.rc, error=commit.error)

    @router.post("/jobs/{job_id}/events")
    def events(job_id: str, body: EventsRequest, site: Site) -> Done:
        """Keep metrics and texts of a site, each once by its id."""
        store.job_of_site(job_id, site)
        services.blobs.disk.require(0)
        for blob in {event.blob for event in body.events if event.blob is not None}:
            if not _has_whole(services, site, blob):
                raise RefusedError(
                    ErrorCode.BLOB_MISSING,
                    f"site {site} has not put blob {blob.digest} ({blob.size} bytes), which an "
                    "event refers to; put it, then send the events again",
                )
        store.add_events(job_id, site, body.events, most=services.most_events)
        return Done()

    return router


def _has_whole(services: Services, site: str, blob: BlobRef) -> bool:
    there = services.blobs.size(blob.digest) == blob.size
    return there and services.store.has_blob(site, blob.digest)


def _job_state(job: JobRow) -> SiteJobState:
    if job.state.ended:
        return SiteJobState.ENDED
    return SiteJobState.STOPPING if job.stop_requested else SiteJobState.RUNNING


def _revoked(store: Store, known: str | None) -> RevokedSerials | None:
    """All that were revoked, if the site asks and knows another version."""
    if known is None:
        return None
    serials = store.revoked_serials()
    # They only ever become more, and in whatever order they come, the same ones are one version.
    version = hashlib.sha256(" ".join(serials).encode()).hexdigest()
    return None if version == known else RevokedSerials(version=version, serials=tuple(serials))


def _site_job(job: JobRow) -> SiteJob:
    return SiteJob(
        job_id=job.id,
        name=job.spec.name,
        trainer=job.spec.trainer,
        params=job.spec.params,
        state=_job_state(job),
    )


def _unknown_job(job_id: str) -> SiteJob:
    """A job that the server has no record of is over for the site."""
    return SiteJob(job_id=job_id, name="", trainer="", state=SiteJobState.ENDED)


def _message(task: TaskRow) -> TaskMessage:
    left = None if task.deadline is None else max(0.0, task.deadline - time.time())
    return TaskMessage(
        task_id=task.id,
        attempt=task.attempt,
        name=task.name,
        headers=dict(task.headers),
        blob=task.blob,
        deadline_seconds=left,
    )
