"""What a trainer sent, read as far as the site must: results without their tensors, and notices.

Tensors are not touched here: whether they fit the task is for the server to judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federant import codec
from federant.exchange import HeaderKey, ReturnCode, Shareable
from federant.exchange.names import RETURN_CODE_LENGTH
from federant.pipe import StoredFrame
from federant.site.errors import UnreadableResultError
from federant.spool import SpoolError

_MAX_HEADER_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class ReceivedResult:
    """A result as the journal wants it."""

    rc: str
    headers: dict[str, Any]
    """Those of the result's headers that JSON has, the return code apart."""
    path: Path | None
    inline: bytes | None
    size: int
    """Bytes of the frame."""
    frame: StoredFrame | None
    """To be released when the server has the result."""
    crashed: bool = False
    """Whether it is the last word of a trainer that dies of an exception."""


def read_result(data: object) -> ReceivedResult:
    """Read the data of a reply; UnreadableResultError if it is no Shareable."""
    if isinstance(data, Shareable):
        frame = codec.encode(data).to_bytes()
        return _received(data, None, frame, len(frame), None)
    if not isinstance(data, StoredFrame):
        raise UnreadableResultError(f"the result must be a Shareable, it is {_kind(data)}")
    try:
        body = data.layout.body()
        if not isinstance(body, Shareable):
            raise UnreadableResultError(f"the result must be a Shareable, it is {_kind(body)}")
    except (codec.FrameError, SpoolError) as error:
        raise UnreadableResultError(f"the result cannot be read: {error}") from error
    return _received(body, data.path, data.content, data.size, data)


def read_notice(data: object) -> tuple[str, str] | None:
    """The task's id and the words of a notice, and its frame let go; None if it is none."""
    if isinstance(data, StoredFrame):
        frame = data
        try:
            data = frame.layout.body()
        except (codec.FrameError, SpoolError):
            return None
        finally:
            frame.release()
    if not isinstance(data, dict):
        return None
    task_id, text = data.get("task_id"), data.get("text")
    if not isinstance(task_id, str) or not isinstance(text, str):
        return None
    return task_id, text[-_MAX_HEADER_CHARS:]


def _received(
    body: Shareable,
    path: Path | None,
    inline: bytes | None,
    size: int,
    frame: StoredFrame | None,
) -> ReceivedResult:
    headers = body.get(HeaderKey.HEADERS)
    if not isinstance(headers, dict):
        raise UnreadableResultError(f"the result's headers must be a dict, not {_kind(headers)}")
    rc = headers.get(HeaderKey.RC, ReturnCode.OK)
    if not isinstance(rc, str) or not 0 < len(rc) <= RETURN_CODE_LENGTH:
        raise UnreadableResultError(
            f"the result's return code must be a str of 1 to {RETURN_CODE_LENGTH} characters, "
            f"not {rc!r:.100}"
        )
    passed = {
        key: value[-_MAX_HEADER_CHARS:] if isinstance(value, str) else value
        for key, value in headers.items()
        if isinstance(key, str)
        and key not in (HeaderKey.RC, HeaderKey.CRASHED)
        and type(value) in (str, int, float, bool)
    }
    crashed = headers.get(HeaderKey.CRASHED) is True
    return ReceivedResult(rc, passed, path, inline, size, frame, crashed)


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"
