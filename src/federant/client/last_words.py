"""What a trainer that crashes says of itself, and the hook through which it is heard."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from types import TracebackType

from federant.client.errors import AgentClosed


def last_words(error: BaseException) -> str:
    """The traceback of a crash; empty for what is none.

    Leaving on purpose (Ctrl-C, ``sys.exit`` without an error) is no crash, nor is the news that the
    agent is closed.
    """
    leaving = isinstance(error, SystemExit) and not error.code
    if leaving or isinstance(error, KeyboardInterrupt | AgentClosed):
        return ""
    return "".join(traceback.format_exception(error))


def hear_crashes(report: Callable[[BaseException], None]) -> None:
    """Calls ``report`` with an exception that ends this process, after it has been shown."""
    show = sys.excepthook

    def show_and_report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        show(kind, error, trace)
        report(error)

    sys.excepthook = show_and_report
