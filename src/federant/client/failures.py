"""The answer to a task that has no result: a return code, and why, in words that can travel."""

from __future__ import annotations

import traceback
from typing import Any

from federant.exchange import HeaderKey, Shareable, make_reply

ERROR_LENGTH = 16 * 1024
"""Characters of an error's text that travel; the end of it says most."""


def failure(rc: str, text: str, *, crashed: bool = False) -> Shareable:
    """What the client job is told; ``crashed``: by a process that dies of an exception."""
    headers: dict[str, Any] = {HeaderKey.ERROR: text_that_travels(text[-ERROR_LENGTH:])}
    if crashed:
        headers[HeaderKey.CRASHED] = True
    return make_reply(rc, headers)


def text_that_travels(text: str) -> str:
    """With a mark for what is no text: a file name in an error's may hold bytes that are none."""
    return text.encode("utf-8", "replace").decode("utf-8")


def error_text(error: BaseException) -> str:
    """An error's type and text; also of one that fails to say its text."""
    return "".join(traceback.format_exception_only(error)).strip()
