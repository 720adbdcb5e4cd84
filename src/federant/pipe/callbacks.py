"""Callbacks: what the user of a handler wants called for which news; no news is made here."""

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from federant.pipe.message import Message

logger = logging.getLogger(__name__)


class News(StrEnum):
    """What a handler may call back for."""

    STATUS = "status"
    MESSAGE = "message"
    DUPLICATE = "duplicate"
    CANCEL = "cancel"
    NOTICE = "notice"


class Callbacks:
    """At most one callback for each kind of news; one that raises is logged, no more."""

    def __init__(self) -> None:
        self._set: dict[News, Callable[[Message], object]] = {}

    def __contains__(self, news: News) -> bool:
        return news in self._set

    def set(self, news: News, cb: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """It will be cb(msg, *args, **kwargs); ValueError if that cannot be called."""
        if not callable(cb):
            # A ValueError, not a TypeError: this is what callers of this interface have always got.
            problem = f"the {news} callback must be callable, got {type(cb).__name__}"
            raise ValueError(problem)
        self._set[news] = lambda msg: cb(msg, *args, **kwargs)

    def call(self, news: News, msg: Message) -> None:
        """In the caller's thread; without a callback the message is dropped."""
        cb = self._set.get(news)
        if cb is None:
            logger.info("dropped message=%s: no %s callback is set", msg, news)
            return
        try:
            cb(msg)
        except Exception:
            logger.exception("callback failed callback=%s message=%s", news, msg)
