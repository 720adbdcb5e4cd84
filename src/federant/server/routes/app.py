"""The server's web application: its routes put together; each lives in a file of its own."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

import federant
from federant.link.messages import ErrorCode
from federant.pipe.cell.address import PATH as CELL_PATH
from federant.server.blobs import SiteSpace
from federant.server.door.admission import Gate, Gated
from federant.server.door.refusals import RefusedError
from federant.server.door.revocations import Revocations
from federant.server.retention import Retention

from . import errors
from .blobs import blob_router, operator_blob_router
from .call_log import CallLog
from .description import DescribedApp
from .health import health_router
from .link import link_router
from .message_bounds import BoundedMessages
from .metrics import metrics_router
from .operator import operator_router
from .revocations import revocation_router
from .services import Services
from .status import status_router
from .tasks import task_router


def create_app(services: Services) -> FastAPI:
    """The application on these services; it neither starts nor stops them."""
    revocations = services.revocations or Revocations(services.store)
    retention = services.retention or Retention(services.store, services.blobs)
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
    app.include_router(link_router(services))
    app.include_router(task_router(services, space))
    app.include_router(blob_router(services, space))
    app.include_router(operator_router(services, retention))
    app.include_router(operator_blob_router(services))
    app.include_router(status_router(services, revocations))
    app.include_router(revocation_router(services, revocations))
    app.include_router(health_router(services))
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
