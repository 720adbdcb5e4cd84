"""The page that Prometheus scrapes; what is on it is made elsewhere."""

from __future__ import annotations

from fastapi import APIRouter, Response

from federant.link.messages import ErrorCode
from federant.server.door.refusals import RefusedError

from .callers import OPERATOR_ONLY
from .services import Services


def metrics_router(services: Services) -> APIRouter:
    # Not in the description: what it answers is Prometheus's own format.
    router = APIRouter(include_in_schema=False, dependencies=[OPERATOR_ONLY])

    @router.get("/metrics")
    def metrics() -> Response:
        """The newest metrics of the jobs that name the sink ``prometheus``."""
        try:
            from federant.server.tracking import prometheus
        except ModuleNotFoundError as error:
            raise RefusedError(
                ErrorCode.NOT_FOUND,
                f"this server has no page for Prometheus: {error.name} is not installed there; "
                "pip install 'federant[prometheus]'",
            ) from error
        text = prometheus.exposition(services.store)
        return Response(text, media_type=prometheus.CONTENT_TYPE)

    return router
