"""Whether the server lives, and whether it is ready; anybody may ask, and is told no more."""

from __future__ import annotations

import logging

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError

import federant
from federant.link.messages import ErrorCode
from federant.link.operator_messages import HealthReply
from federant.server.door.refusals import RefusedError

from .services import Services

_log = logging.getLogger(__name__)


def health_router(services: Services) -> APIRouter:
    router = APIRouter(prefix="/health", tags=["health"])

    def reply(status: str) -> HealthReply:
        return HealthReply(
            status=status, version=federant.__version__, server_id=services.server_id
        )

    @router.get("/live")
    def live() -> HealthReply:
        """The process answers."""
        return reply("live")

    @router.get("/ready")
    def ready() -> HealthReply:
        """The database answers and workflows are being run."""
        try:
            services.store.ping()
        except SQLAlchemyError as error:
            # Not what it says, with its files and statements: anybody may ask this.
            _log.error("the database does not answer error=%s", error)
            raise RefusedError(
                ErrorCode.NOT_READY, "the database does not answer; the server's log has the rest"
            ) from error
        if services.wakeups.closed or not services.ready():
            raise RefusedError(ErrorCode.NOT_READY, "the server is starting or stopping")
        return reply("ready")

    return router
