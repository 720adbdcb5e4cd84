"""How a FilePipe takes a message out of the folder of a meeting, and makes it a Message again."""

import contextlib
import math
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

from federant.codec import FrameError, decode
from federant.pipe.arguments import check_id
from federant.pipe.base import Mode
from federant.pipe.file.link import FileLink
from federant.pipe.file.meeting import Hall
from federant.pipe.file.place import FilePlace
from federant.pipe.message import Message
from federant.pipe.stored_frame import INLINE_BYTES, StoredFrame
from federant.spool import SpoolReader

ENVELOPE: Final = "message"
"""The entry of a frame's envelope: type, topic, msg_id, req_id, Unix seconds of sending."""


class Reading:
    """One end's; `claim` under the pipe's lock, `unpack` without."""

    def __init__(self, place: FilePlace, hall: Hall, *, defer: bool) -> None:
        self._place = place
        self._hall = hall
        self._defer = defer

    def claim(self, link: FileLink, name: str) -> Path | None:
        """Takes a message's file, which its sender cannot withdraw then; None if it has."""
        for _ in range(2):
            if self._place.mode is Mode.ACTIVE:
                target = link.folder / "taken" / name
            else:
                target = self._hall.taken() / f"{link.folder.name}-{name}"
            with contextlib.suppress(FileNotFoundError):
                (link.inbox / name).rename(target)
                return target
        return None

    def unpack(self, link: FileLink, taken: Path) -> Message:
        """FrameError, SpoolError, TypeError, ValueError, OSError if that is no message."""
        size = taken.lstat().st_size
        reader = SpoolReader(taken.parent)
        if self._defer and size > INLINE_BYTES:
            stored = StoredFrame.of_file(
                *(reader, taken.name, size), partial(taken.unlink, missing_ok=True)
            )
            return _message(stored.layout.envelope, stored)
        # Mapped only where its writer is of this host: what a server loses would be a SIGBUS.
        mapped = link.peer is not None and link.peer.by_lock and self._place.mode is Mode.ACTIVE
        memory = (reader.map if mapped else reader.read)(taken.name, size)
        if self._defer:
            stored = StoredFrame.of_bytes(bytes(memory))
            msg = _message(stored.layout.envelope, stored)
        else:
            decoded = decode(memoryview(memory))
            msg = _message(decoded.envelope, decoded.body)
        taken.unlink(missing_ok=True)
        return msg


def _message(envelope: dict[str, Any], data: object) -> Message:
    match envelope.get(ENVELOPE):
        case [str(kind), str(topic), msg_id, req_id, float(sent_time)] if math.isfinite(sent_time):
            check_id("msg_id", msg_id)
            check_id("req_id", req_id)
        case _:
            raise FrameError("the frame's envelope does not say which message it is")
    msg = Message(kind, topic, data, msg_id, req_id)
    msg.sent_time = sent_time
    msg.received_time = time.time()
    return msg
