"""What client job and trainer let each other's people know of a task; nothing is decided by it."""

from __future__ import annotations

import logging
import threading
import time
from typing import NamedTuple

from federant.client.desk import TaskDesk
from federant.pipe import Message, MsgId, PipeHandler, Topic

UNASKED_SECONDS = 30.0
"""How long a task lies at a trainer that does not ask for it until that is told."""

logger = logging.getLogger(__name__)


class _Unasked(NamedTuple):
    """The newest task that nobody waited for; of its message only this, not what it brought."""

    msg_id: MsgId
    task_id: str
    topic: str
    due: float
    """When it is told, on the monotonic clock."""


class Notices:
    """One agent's notices, both ways; thread-safe."""

    def __init__(self, handler: PipeHandler, desk: TaskDesk) -> None:
        self.last_refusal = ""
        """What was said of the newest result that the server did not take."""
        self._handler = handler
        self._desk = desk
        self._changed = threading.Condition()
        self._unasked: _Unasked | None = None
        self._watching = False
        handler.set_notice_cb(self._on_notice)

    def watch(self, message: Message, task_id: MsgId) -> None:
        """Tells both sides if the task of that message is not asked for in good time."""
        due = time.monotonic() + UNASKED_SECONDS
        with self._changed:
            self._unasked = _Unasked(message.msg_id, str(task_id), message.topic, due)
            if self._watching:
                return  # whoever watches sleeps for an earlier one, and then for this
            self._watching = True
        threading.Thread(target=self._watch, name="federant-unasked", daemon=True).start()

    def stop(self) -> None:
        """Nothing more is told of what is not asked for."""
        with self._changed:
            self._unasked = None
            self._changed.notify_all()

    def _watch(self) -> None:
        with self._changed:
            while self._unasked is not None:
                left = self._unasked.due - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            unasked, self._unasked = self._unasked, None
            self._watching = False
        if unasked is not None and self._desk.has_unasked(unasked.msg_id):
            self._tell(unasked)

    def _tell(self, unasked: _Unasked) -> None:
        text = (
            f"task {unasked.topic} {unasked.task_id} reached the trainer {UNASKED_SECONDS:g} s "
            "ago, and it has not asked for it: call agent.get_task() or flare.receive(), again "
            "and again until the job ends; it may also be busy with something else"
        )
        logger.warning("%s", text)
        data = {"task_id": unasked.task_id, "text": text}
        self._handler.send_to_peer(Message.new_request(Topic.NOTICE, data))

    def _on_notice(self, message: Message) -> None:
        data = message.data if isinstance(message.data, dict) else {}
        self.last_refusal = str(data.get("text", ""))
        logger.warning(
            "result refused task_id=%s reason=%s", data.get("task_id"), self.last_refusal
        )
