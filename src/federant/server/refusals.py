"""Every way in which a call is refused, and the one place where errors become answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from federant.link.messages import ErrorBody, ErrorCode

from .blob_errors import (
    BlobDigestError,
    BlobError,
    BlobNotFoundError,
    BlobOffsetError,
    BlobQuotaError,
    BlobSpaceError,
    BlobSupersededError,
)
from .peers import PEER
from .state import ConflictError, NotYoursError, StateError, UnknownRowError

_log = logging.getLogger(__name__)

_STATUS: dict[ErrorCode, int] = {
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

_CODES: dict[type[Exception], ErrorCode] = {
    UnknownRowError: ErrorCode.NOT_FOUND,
    NotYoursError: ErrorCode.FORBIDDEN,
    ConflictError: ErrorCode.CONFLICT,
    BlobNotFoundError: ErrorCode.NOT_FOUND,
    BlobOffsetError: ErrorCode.BLOB_OFFSET,
    BlobDigestError: ErrorCode.BLOB_DIGEST,
    BlobSupersededError: ErrorCode.BLOB_SUPERSEDED,
    BlobSpaceError: ErrorCode.NO_SPACE,
    BlobQuotaError: ErrorCode.OVER_QUOTA,
}

RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "model": ErrorBody,
        "description": "Refused, or failed: "
        + ", ".join(f"{code} ({status})" for code, status in _STATUS.items()),
    }
}
"""What every call may answer, for the description of the calls."""

_DENIALS: Final = frozenset(
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

_HTTP_CODES = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.NOT_FOUND, 413: ErrorCode.TOO_LARGE}


class RefusedError(Exception):
    """A route's own no; the code gives the status."""

    def __init__(
        self, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = headers


def install(app: FastAPI) -> None:
    """Let every error of the app answer with a code and a sentence."""
    app.add_exception_handler(RefusedError, _on_refused)
    app.add_exception_handler(StateError, _on_known)
    app.add_exception_handler(BlobError, _on_known)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_unknown)


def answer(
    code: ErrorCode,
    message: str,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer that refuses; the code gives the status unless there is another."""
    body = ErrorBody(code=code, message=message)
    return JSONResponse(body.model_dump(mode="json"), status or _STATUS[code], headers)


def status_of(code: ErrorCode) -> int:
    """The HTTP status that says the same."""
    return _STATUS[code]


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


def _on_refused(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RefusedError):
        raise error
    if error.code in _DENIALS:
        log_denial(request.scope, error.code, error.message)
    return answer(error.code, error.message, headers=error.headers)


def _on_known(request: Request, error: Exception) -> JSONResponse:
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            if code in _DENIALS:
                log_denial(request.scope, code, str(error))
            # Else the sender of a blob for which there is no space would first send all of it.
            full = (ErrorCode.NO_SPACE, ErrorCode.OVER_QUOTA)
            headers = {"connection": "close"} if code in full else None
            return answer(code, str(error), headers=headers)
    raise error


def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    problems = "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors()
    )
    return answer(ErrorCode.BAD_REQUEST, f"the request is not valid: {problems}")


def _on_http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    code = _HTTP_CODES.get(error.status_code, ErrorCode.BAD_REQUEST)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return answer(code, message, error.status_code)


def _on_unknown(request: Request, error: Exception) -> JSONResponse:
    # The error itself is logged by the server that runs the app.
    what = f"{request.method} {request.url.path} failed: {type(error).__name__}"
    return answer(ErrorCode.INTERNAL, f"{what}; the server's log has the rest")
