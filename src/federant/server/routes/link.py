"""The link's calls about jobs: hello, which there are, how the site stands with them, events."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from federant.link.messages import (
    FEATURES,
    LINK_PREFIX,
    VERSION,
    Done,
    ErrorCode,
    EventsRequest,
    HelloReply,
    HelloRequest,
    NextJobsReply,
    NextJobsRequest,
    RevokedSerials,
    SiteJob,
    SiteJobState,
    SiteStateRequest,
)
from federant.server.door.refusals import RefusedError
from federant.server.state import JobRow, Store
from federant.server.wakeups import site_topic

from .callers import Site, known_version, require_version
from .services import Services
from .tasks import state_for_sites
from .waiting import long_poll


def link_router(services: Services) -> APIRouter:
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

    @router.post("/jobs/{job_id}/events")
    def events(job_id: str, body: EventsRequest, site: Site) -> Done:
        """Keep metrics and texts of a site, each once by its id."""
        store.job_of_site(job_id, site)
        services.blobs.disk.require(0)
        for blob in {event.blob for event in body.events if event.blob is not None}:
            if not services.has_whole(site, blob):
                raise RefusedError(
                    ErrorCode.BLOB_MISSING,
                    f"site {site} has not put blob {blob.digest} ({blob.size} bytes), which an "
                    "event refers to; put it, then send the events again",
                )
        store.add_events(job_id, site, body.events, most=services.most_events)
        return Done()

    return router


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
        state=state_for_sites(job),
    )


def _unknown_job(job_id: str) -> SiteJob:
    """A job that the server has no record of is over for the site."""
    return SiteJob(job_id=job_id, name="", trainer="", state=SiteJobState.ENDED)
