"""The server's web application: its routes put together; no route lives here but health."""

from __future__ import annotations

import logging

from fastapi import APIRouter, FastAPI
from sqlalchemy.exc import SQLAlchemyError

import federant
from federant.link.messages import ErrorCode
from federant.link.operator_messages import HealthReply
from federant.pipe.cell.address import PATH as CELL_PATH
from federant.server.blobs import SiteSpace
from federant.server.door.admission import Gate, Gated
from federant.server.door.refusals import RefusedError
from federant.server.door.revocations import Revocations

from . import errors
from .blobs import blob_router, operator_blob_router
from .call_log import CallLog
from .description import DescribedApp
from .link import link_router
from .message_bounds import BoundedMessages
from .metrics import metrics_router
from .operator import operator_router
from .revocations import revocation_router
from .services import Services
from .status import status_router

_log = logging.getLogger(__name__)


def create_app(services: Services) -> FastAPI:
    """The application on these services; it neither starts nor stops them."""
    revocations = services.revocations or Revocations(services.store)
    space = SiteSpace(services.store, services.site_bytes)
    app = DescribedApp(
        title="federant server",
        version=federant.__version__,
        description="The link that sites speak, and the operator's calls.",
        responses=errors.RESPONSES,
        redoc_url=None,
        docs_url=None,
    )
    app.add_middleware(BoundedMessages)
    app.add_middleware(Gated, gate=Gate(services.federation, revocations, services.holders))
    app.add_middleware(CallLog)
    errors.install(app)
    app.include_router(link_router(services, space))
    app.include_router(blob_router(services, space))
    app.include_router(operator_router(services))
    app.include_router(operator_blob_router(services))
    app.include_router(status_router(services, revocations))
    app.include_router(revocation_router(services, revocations))
    app.include_router(_health_router(services))
    app.include_router(metrics_router(services))
    app.include_router(_no_relay_router())
    return app


def _no_relay_router() -> APIRouter:
    """Where cells are answered before a request comes here, if the relay is switched on."""
    router = APIRouter(include_in_schema=False)

    @router.get(CELL_PATH)
    def no_relay() -> None:
        raise RefusedError(
            ErrorCode.NOT_FOUND,
            f"GET {CELL_PATH}: the relay of this server is switched off; its operator switches it "
            "on by the table [relay] in server.toml (and only a WebSocket is answered there)",
        )

    return router


def _health_router(services: Services) -> APIRouter:
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
