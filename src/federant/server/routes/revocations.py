"""The operator's calls that revoke certificates and list what was revoked."""

from __future__ import annotations

from fastapi import APIRouter, Request

from federant.link.messages import API_PREFIX, ErrorCode
from federant.link.operator_messages import RevocationsReply, RevocationView, RevokeRequest
from federant.server.door.refusals import RefusedError
from federant.server.door.revocations import Revocations
from federant.server.state import RevocationRow

from .callers import MEANT, OPERATOR_ONLY, peer_in
from .services import Services


def revocation_router(services: Services, revocations: Revocations) -> APIRouter:
    router = APIRouter(
        prefix=f"{API_PREFIX}/revocations", tags=["operator"], dependencies=[OPERATOR_ONLY]
    )

    @router.post("", dependencies=[MEANT])
    def revoke(body: RevokeRequest, request: Request) -> RevocationView:
        """Revoke a certificate for good; who is connected with it is cut off at once."""
        caller = peer_in(request)
        if caller is not None and caller.serial == body.serial:
            raise RefusedError(
                ErrorCode.CONFLICT,
                f"{body.serial} is the serial number of the certificate with which you call: you "
                "would lock yourself out; renew your kit first (federant provision renew), and "
                "revoke the old certificate with the new one",
            )
        own = services.certificate and services.certificate()
        if own is not None and own.serial == body.serial:
            raise RefusedError(
                ErrorCode.CONFLICT,
                f"{body.serial} is the serial number of this server's own certificate, and who "
                "calls a server does not ask it whether it was revoked; give the server another "
                "(federant provision renew server), and the federation another authority "
                "(federant provision rotate-ca, then renew --all, then retire-ca)",
            )
        holder = services.holders.holder_of(body.serial)
        by = caller.identity.title if caller and caller.identity else ""
        row = revocations.add(body.serial, holder.title if holder else "", body.reason, by)
        return _view(row)

    @router.get("")
    def revoked() -> RevocationsReply:
        """Every certificate that was revoked, the oldest revocation first."""
        return RevocationsReply(revocations=tuple(_view(row) for row in revocations.every()))

    return router


def _view(row: RevocationRow) -> RevocationView:
    return RevocationView.model_validate(row, from_attributes=True)
