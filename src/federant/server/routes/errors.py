"""The one place where errors become answers, for all calls."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from federant.link.messages import ErrorBody, ErrorCode
from federant.server.blobs import (
    BlobDigestError,
    BlobError,
    BlobNotFoundError,
    BlobOffsetError,
    BlobQuotaError,
    BlobSpaceError,
    BlobSupersededError,
)
from federant.server.door.refusals import DENIALS, STATUS, RefusedError, answer, log_denial
from federant.server.state import ConflictError, NotYoursError, StateError, UnknownRowError

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

_HTTP_CODES = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.NOT_FOUND, 413: ErrorCode.TOO_LARGE}

RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "model": ErrorBody,
        "description": "Refused, or failed: "
        + ", ".join(f"{code} ({status})" for code, status in STATUS.items()),
    }
}
"""What every call may answer, for the description of the calls."""


def install(app: FastAPI) -> None:
    """Let every error of the app answer with a code and a sentence."""
    app.add_exception_handler(RefusedError, _on_refused)
    app.add_exception_handler(StateError, _on_known)
    app.add_exception_handler(BlobError, _on_known)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_unknown)


def _on_refused(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RefusedError):
        raise error
    if error.code in DENIALS:
        log_denial(request.scope, error.code, error.message)
    return answer(error.code, error.message, headers=error.headers)


def _on_known(request: Request, error: Exception) -> JSONResponse:
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            if code in DENIALS:
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
