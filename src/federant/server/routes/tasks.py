"""The link's calls about tasks: the next one, its lease, its result."""

from __future__ import annotations

import time
from typing import Final

from fastapi import APIRouter, Depends

from federant.exchange import HeaderKey
from federant.link.messages import (
    LINK_PREFIX,
    CommitOutcome,
    ErrorCode,
    HoldState,
    NextTaskReply,
    NextTaskRequest,
    RenewReply,
    RenewRequest,
    ResultReply,
    ResultRequest,
    SiteJobState,
    TaskMessage,
)
from federant.server.blobs import SiteSpace
from federant.server.door.refusals import RefusedError
from federant.server.state import JobRow, TaskRow, TaskState
from federant.server.wakeups import site_topic, task_topic

from .callers import Site, known_version
from .services import Services
from .waiting import long_poll

_HOLD_STATES = {
    TaskState.QUEUED: HoldState.HELD,
    TaskState.LEASED: HoldState.HELD,
    TaskState.CANCELLED: HoldState.CANCELLED,
    TaskState.DONE: HoldState.DONE,
}

_COMMITTED: Final = (CommitOutcome.ACCEPTED, CommitOutcome.REFUSED)


def task_router(services: Services, space: SiteSpace) -> APIRouter:
    router = APIRouter(prefix=LINK_PREFIX, tags=["link"], dependencies=[Depends(known_version)])
    store, wakeups = services.store, services.wakeups

    @router.post("/jobs/{job_id}/tasks/next")
    async def next_task(job_id: str, body: NextTaskRequest, site: Site) -> NextTaskReply:
        """The site's next task in a job, under a lease, once there is one."""

        def look() -> tuple[bool, NextTaskReply]:
            offer = store.next_task(job_id, site, body.holder, body.holding, body.lease_seconds)
            task = None if offer.task is None else _message(offer.task)
            state = state_for_sites(offer.job)
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
                if not services.has_whole(site, body.blob):
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

    return router


def state_for_sites(job: JobRow) -> SiteJobState:
    """What a site is told of the job's state."""
    if job.state.ended:
        return SiteJobState.ENDED
    return SiteJobState.STOPPING if job.stop_requested else SiteJobState.RUNNING


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
