"""How a call is refused: the answer, its status, and the line in the log; knows no errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from fastapi.responses import JSONResponse
from starlette.types import Scope

from federant.link.messages import ErrorBody, ErrorCode

from .peers import PEER

_log = logging.getLogger(__name__)

STATUS: Final[dict[ErrorCode, int]] = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.UNKNOWN_VERSION: 400,
    ErrorCode.NO_SITE: 401,
    ErrorCode.NO_CERTIFICATE: 401,
    ErrorCode.CERTIFICATE_EXPIRED: 401,
    ErrorCode.CERTIFICATE_REVOKED: 401,
    ErrorCode.WRONG_IDENTITY: 403,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.BLOB_MISSING: 409,
    ErrorCode.BLOB_OFFSET: 409,
    ErrorCode.BLOB_DIGEST: 400,
    ErrorCode.BLOB_SUPERSEDED: 409,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.NO_SPACE: 507,
    ErrorCode.OVER_QUOTA: 507,
    ErrorCode.TOO_MANY_CONNECTIONS: 503,
    ErrorCode.NOT_READY: 503,
    ErrorCode.INTERNAL: 500,
}
"""The HTTP status that says the same."""

DENIALS: Final = frozenset(
    {
        ErrorCode.NO_SITE,
        ErrorCode.NO_CERTIFICATE,
        ErrorCode.CERTIFICATE_EXPIRED,
        ErrorCode.CERTIFICATE_REVOKED,
        ErrorCode.WRONG_IDENTITY,
        ErrorCode.FORBIDDEN,
        ErrorCode.NO_SPACE,
        ErrorCode.OVER_QUOTA,
    }
)
"""What is refused for who asks, and not for what is asked; and what the operator must see to."""


class RefusedError(Exception):
    """A route's own no; the code gives the status."""

    def __init__(
        self, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = headers


def answer(
    code: ErrorCode,
    message: str,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer that refuses; the code gives the status unless there is another."""
    body = ErrorBody(code=code, message=message)
    return JSONResponse(body.model_dump(mode="json"), status or STATUS[code], headers)


def log_denial(scope: Scope, code: ErrorCode, why: str) -> None:
    """One line: who was denied what, and why."""
    peer = scope.get("state", {}).get(PEER)
    host, port = scope.get("client") or ("?", 0)
    who = "nobody known"
    if peer is not None:
        title = peer.identity.title if peer.identity else "nobody of the federation"
        who = f"{title} (serial {peer.serial})"
    _log.warning(
        "denied who=%r client=%s:%s call=%s %r code=%s why=%r",
        who, host, port, scope["method"], scope["path"][:200], code.value, why[:500],
    )  # fmt: skip
