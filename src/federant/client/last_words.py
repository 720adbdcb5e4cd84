"""What a trainer that crashes says of itself, and the hook through which it is heard.

Where a trainer has many processes, each that crashes leaves its words in a folder that the client
job reads when the trainer has ended: the first to go takes the others with it, also the one that
talks, which may then die by a signal and say nothing.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from federant.client.errors import AgentClosed
from federant.client.ranks import process_count, process_rank

WORDS_FOLDER = "last_words"
"""In the folder of the pipe, made by the first that crashes."""

WORDS_SUFFIX = ".txt"

logger = logging.getLogger(__name__)


def last_words(error: BaseException) -> str:
    """The traceback of a crash; empty for what is none.

    Leaving on purpose (Ctrl-C, ``sys.exit`` without an error) is no crash, nor is the news that the
    agent is closed.
    """
    leaving = isinstance(error, SystemExit) and not error.code
    if leaving or isinstance(error, KeyboardInterrupt | AgentClosed):
        return ""
    return "".join(traceback.format_exception(error))


def hear_crashes(*reports: Callable[[BaseException], None]) -> None:
    """Calls each of ``reports`` with an exception that ends this process, after it was shown."""
    show = sys.excepthook

    def show_and_report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        show(kind, error, trace)
        for report in reports:
            report(error)

    sys.excepthook = show_and_report


def leave_words(pipe: Path, error: BaseException, *, rank: str | None = None) -> None:
    """Leaves a crash's words beside the pipe, if this is one of many processes.

    ``rank`` is this process's, if it was told; else what its launcher or framework says. A folder
    that is gone is no error: the job may be over.
    """
    rank = str(process_rank()) if rank is None else rank
    text = last_words(error)
    if not text or (rank == "0" and process_count() == 1):
        return
    folder = pipe / WORDS_FOLDER
    name = f"{time.time_ns()}-{rank}-{os.getpid()}"
    words = f"rank {rank}, process {os.getpid()} on {platform.node()}:\n{text}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        aside = folder / f"{name}.new"
        aside.write_bytes(words.encode("utf-8", "replace"))
        aside.replace(folder / f"{name}{WORDS_SUFFIX}")
    except OSError as problem:
        logger.warning("last words not left folder=%s error=%s", folder, problem)
