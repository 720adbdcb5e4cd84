"""What client job and trainer let each other's people know of a task; nothing is decided by it."""

from __future__ import annotations

import logging
import threading

from federant.client.desk import TaskDesk
from federant.pipe import Message, MsgId, PipeHandler, Topic

UNASKED_SECONDS = 30.0
"""How long a task lies at a trainer that does not ask for it until that is told."""

logger = logging.getLogger(__name__)


class Notices:
    """One agent's notices, both ways; thread-safe."""

    def __init__(self, handler: PipeHandler, desk: TaskDesk) -> None:
        self.last_refusal = ""
        """What was said of the newest result that the server did not take."""
        self._handler = handler
        self._desk = desk
        self._timer: threading.Timer | None = None
        handler.set_notice_cb(self._on_notice)

    def watch(self, message: Message, task_id: MsgId) -> None:
        """Tells both sides if the task of that message is not asked for in good time."""
        self.stop()
        timer = threading.Timer(UNASKED_SECONDS, self._tell_unasked, (message, task_id))
        timer.name, timer.daemon = "federant-unasked", True
        self._timer = timer
        timer.start()

    def stop(self) -> None:
        """Nothing more is told of what is not asked for."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell_unasked(self, message: Message, task_id: MsgId) -> None:
        if not self._desk.has_unasked(message):
            return
        text = (
            f"task {message.topic} {task_id} reached the trainer {UNASKED_SECONDS:g} s ago, and "
            "it has not asked for it: call agent.get_task() or flare.receive(), again and again "
            "until the job ends; it may also be busy with something else"
        )
        logger.warning("%s", text)
        data = {"task_id": str(task_id), "text": text}
        self._handler.send_to_peer(Message.new_request(Topic.NOTICE, data))

    def _on_notice(self, message: Message) -> None:
        data = message.data if isinstance(message.data, dict) else {}
        self.last_refusal = str(data.get("text", ""))
        logger.warning(
            "result refused task_id=%s reason=%s", data.get("task_id"), self.last_refusal
        )
