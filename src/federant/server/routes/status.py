"""The operator's calls that tell how the federation stands: the server, its sites, certificates."""

from __future__ import annotations

import time
from collections import Counter

from fastapi import APIRouter, Request

import federant
from federant.link.identity import Identity, Role
from federant.link.messages import API_PREFIX, JobState
from federant.link.operator_messages import CertificateView, SitesReply, SiteView, StatusReply
from federant.server.door.revocations import Revocations

from .callers import OPERATOR_ONLY, peer_in
from .services import Services


def status_router(services: Services, revocations: Revocations) -> APIRouter:
    router = APIRouter(prefix=API_PREFIX, tags=["operator"], dependencies=[OPERATOR_ONLY])
    began = time.monotonic()

    @router.get("/status")
    def status(request: Request) -> StatusReply:
        """The server, its jobs, its sites, and when their certificates end."""
        now = time.time()
        counted = Counter(job.state for job in services.store.jobs())
        own = services.certificate and services.certificate()
        caller = peer_in(request)
        return StatusReply(
            server_id=services.server_id,
            version=federant.__version__,
            up_seconds=time.monotonic() - began,
            disk_free_bytes=services.blobs.disk.free_bytes,
            keep_free_bytes=services.blobs.disk.keep_free_bytes,
            jobs={state: counted[state] for state in JobState if counted[state]},
            certificate=_certificate(own.serial, own.not_after.timestamp(), now) if own else None,
            caller=_certificate(caller.serial, caller.expires, now, now) if caller else None,
            sites=_sites(services, revocations, now),
        )

    @router.get("/sites")
    def sites() -> SitesReply:
        """Every site that ever spoke to the server."""
        return SitesReply(sites=_sites(services, revocations, time.time()))

    return router


def _sites(services: Services, revocations: Revocations, now: float) -> tuple[SiteView, ...]:
    return tuple(
        SiteView(
            name=row.name,
            instance=row.instance,
            features=row.features,
            first_seen=row.first_seen,
            last_seen=row.last_seen,
            silent_seconds=max(0.0, now - row.last_seen),
            alive=row.alive(now),
            certificates=_certificates(services, revocations, row.name, now),
        )
        for row in services.store.sites()
    )


def _certificates(
    services: Services, revocations: Revocations, site: str, now: float
) -> tuple[CertificateView, ...]:
    if not services.federation:
        return ()
    held = services.holders.held_by(Identity(services.federation, Role.SITE, site))
    return tuple(
        _certificate(
            each.serial, each.expires, now, each.last_seen, revocations.is_revoked(each.serial)
        )
        for each in held
    )


def _certificate(
    serial: str, expires: float, now: float, last_seen: float | None = None, revoked: bool = False
) -> CertificateView:
    return CertificateView(
        serial=serial,
        expires=expires,
        seconds_left=expires - now,
        last_seen=last_seen,
        revoked=revoked,
    )
