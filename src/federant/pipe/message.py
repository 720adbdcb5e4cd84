"""What goes through a pipe: a Message with topic and ids; how it travels is the pipe's affair."""

import re
import uuid
from typing import Any, Final, TypeAlias

MsgId: TypeAlias = str | int
"""A message's name: a uuid made here, or the caller's own str or int, kept as given."""

_TOPIC: Final = re.compile(r"[a-zA-Z0-9_]+")


class Topic:
    """Topics that pipe handlers keep for themselves; every other topic is the application's."""

    ABORT: Final = "_ABORT_"
    """Stop now: the work is void."""
    END: Final = "_END_"
    """The work is done: no more messages will come."""
    HEARTBEAT: Final = "_HEARTBEAT_"
    PEER_GONE: Final = "_PEER_GONE_"
    """Made by a handler for its own user; not believed when a peer sends it."""
    ACCEPTED: Final = "_ACCEPTED_"
    """The receiver's verdict on a message: data {"accepted": bool, "rc": str, "error": str}."""
    CANCEL: Final = "_CANCEL_"
    """One task is void, the work goes on: data {"task_id": str, "reason": str}."""
    NOTICE: Final = "_NOTICE_"
    """Something about one task that a person should read: data {"task_id": str, "text": str}."""


class Message:
    """One message; its data is what the codec can carry: a Shareable, a DXO, dicts, arrays, ..."""

    REQUEST: Final = "REQ"
    REPLY: Final = "REP"

    __slots__ = (
        "data",
        "dropped",
        "msg_id",
        "msg_type",
        "received_time",
        "req_id",
        "sent_time",
        "topic",
        "withdrawn",
    )

    def __init__(
        self,
        msg_type: str,
        topic: str,
        data: Any,
        msg_id: MsgId | None = None,
        req_id: MsgId | None = None,
    ) -> None:
        """A falsy msg_id is replaced by a new one. A bad type or topic: TypeError or ValueError."""
        if not isinstance(msg_type, str):
            raise TypeError(f"msg_type must be a str, got {type(msg_type).__name__}")
        if msg_type not in (self.REQUEST, self.REPLY):
            raise ValueError(f"msg_type must be 'REQ' or 'REP', got {msg_type!r}")
        if not isinstance(topic, str):
            raise TypeError(f"topic must be a str, got {type(topic).__name__}")
        if not _TOPIC.fullmatch(topic):
            raise ValueError(
                f"topic must be one or more of the characters a-z A-Z 0-9 _, got {topic!r}"
            )
        self.msg_type = msg_type
        self.topic = topic
        self.data = data
        self.msg_id: MsgId = msg_id or str(uuid.uuid4())
        self.req_id = req_id
        """The msg_id of the request that this replies to."""
        self.sent_time: float | None = None
        """Unix seconds by the sender's clock, or None where the pipe does not say."""
        self.received_time: float | None = None
        """Unix seconds by the receiver's clock, or None where the pipe does not say."""
        self.withdrawn = False
        """Set by the sender before Pipe.wake: a blocked send then ends with False."""
        self.dropped = ""
        """Set by Pipe.send: why the peer, which is there, could not read it; else empty."""

    @staticmethod
    def new_request(topic: str, data: Any, msg_id: MsgId | None = None) -> "Message":
        return Message(Message.REQUEST, topic, data, msg_id)

    @staticmethod
    def new_reply(
        topic: str, data: Any, req_msg_id: MsgId | None, msg_id: MsgId | None = None
    ) -> "Message":
        return Message(Message.REPLY, topic, data, msg_id, req_msg_id)

    def __str__(self) -> str:
        reply_to = f", req_id={self.req_id}" if self.req_id is not None else ""
        return f"Message({self.msg_type} {self.topic}, msg_id={self.msg_id}{reply_to})"
