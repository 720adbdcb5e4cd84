"""One channel of a pipe, served for one trainer after another; knows no message's meaning."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from federant.pipe import Message, Pipe, PipeHandler, Topic

_log = logging.getLogger(__name__)


class PipeSessions:
    """Keeps a handler on the passive end of a pipe, and makes a new one when the trainer left.

    A handler serves one trainer; the pipe stays open and waits for the next one. Callbacks run
    in the handler's reader thread.
    """

    def __init__(
        self,
        pipe: Pipe,
        channel: str,
        *,
        heartbeat_interval: float,
        on_message: Callable[[Message, PipeHandler], None],
        on_left: Callable[[bool, str], None],
        on_notice: Callable[[Message], None] | None = None,
    ) -> None:
        """`on_left(clean, text)`: the trainer said goodbye (clean), or is dead.

        `on_notice(message)`: it has something to say that a person should read.
        """
        self._pipe = pipe
        self._channel = channel
        self._heartbeat_interval = heartbeat_interval
        self._on_message = on_message
        self._on_left = on_left
        self._on_notice = on_notice
        self._lock = threading.Condition()
        self._handler: PipeHandler | None = None
        self._closed = False

    def start(self) -> None:
        """Open the pipe and listen; waits for nobody."""
        self._pipe.open(self._channel)
        self._begin()

    def wait_until_left(self, timeout: float) -> bool:
        """Wait until the trainer that was heard here, if one was, has left; False if it has not.

        What it had sent before has been read then.
        """
        with self._lock:
            handler = self._handler
            if handler is None or not handler.peer_is_up_or_dead.is_set():
                return True
            return self._lock.wait_for(
                lambda: self._handler is not handler or self._closed, timeout
            )

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._lock.notify_all()
            handler = self._handler
        if handler is not None:
            handler.stop(close_pipe=False)
        # Not left to the handler: one whose trainer has just left was stopped before.
        self._pipe.close()

    def tell(self, topic: str, data: object) -> bool:
        """Hand a request over without waiting; False if nobody is there to take it."""
        try:
            return self._pipe.send(Message.new_request(topic, data), 0)
        except BrokenPipeError:
            return False

    def _begin(self) -> None:
        handler = PipeHandler(
            self._pipe,
            heartbeat_interval=self._heartbeat_interval,
            # Whether the trainer lives is known from its process and its connection. Silence
            # alone is no death: training code may hold the GIL for minutes.
            heartbeat_timeout=0.0,
        )
        handler.set_message_cb(self._on_message, handler)
        # A copy comes only of a message that could not be answered: then this is another chance.
        handler.set_duplicate_cb(self._on_message, handler)
        handler.set_status_cb(self._left, handler)
        if self._on_notice is not None:
            handler.set_notice_cb(self._on_notice)
        with self._lock:
            if self._closed:
                return
            self._handler = handler
            self._lock.notify_all()
            handler.start()

    def _left(self, message: Message, handler: PipeHandler) -> None:
        if message.topic == Topic.PEER_GONE:
            clean, text = bool(message.data["clean"]), str(message.data["text"])
        else:
            clean, text = True, f"it sent {message.topic}: {message.data}"
        _log.info("trainer left channel=%s clean=%s text=%r", self._channel, clean, text)
        self._on_left(clean, text)
        handler.stop(close_pipe=False)
        self._begin()
