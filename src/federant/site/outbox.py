"""Accepted results on their way to the server: tried until the server has answered, in order.

Which results there are is the journal's knowledge; a result is forgotten here after its commit.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from federant.exchange import HeaderKey, ReturnCode
from federant.link import BlobRef, LinkClient, LinkError, LinkRefused, blob_ref
from federant.link.messages import CommitOutcome, ErrorCode, ResultReply
from federant.pipe import StoredFrame
from federant.site.journal import Journal, StoredResult
from federant.site.retries import Retries
from federant.site.workers import Worker

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_TEXT_CHARS = 2000
_NEVER: Final = frozenset({ErrorCode.BAD_REQUEST, ErrorCode.TOO_LARGE})
"""Refusals of what was sent: sent again, it would be refused again."""


class Outbox:
    """One thread that uploads and commits, one result after another; thread-safe."""

    def __init__(
        self,
        link: LinkClient,
        journal: Journal,
        on_problem: Callable[[str, str], None],
        on_refused: Callable[[str, str], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """`on_problem(state, text)` gets what a person should know: a refused result, say.

        `on_refused(task_id, text)` gets why a result was not taken that the trainer takes for good.
        `on_failure(error)` is called if results can no longer be sent from this process.
        """
        self._link = link
        self._journal = journal
        self._on_problem = on_problem
        self._on_refused = on_refused
        self._changed = threading.Condition()
        self._waiting: deque[tuple[StoredResult, StoredFrame | None]] = deque(
            (result, None) for result in journal.results()
        )
        self._stopped = False
        self._worker = Worker("site-outbox", self._run, on_failure)

    def start(self) -> None:
        """Begin with what an earlier client job left in the journal."""
        self._worker.start()

    def add(self, result: StoredResult, frame: StoredFrame | None) -> None:
        """Send a result that is in the journal; `frame` is released when the server has it."""
        with self._changed:
            self._waiting.append((result, frame))
            self._changed.notify_all()

    def holding(self) -> list[str]:
        """Ids of the tasks whose results the server does not have yet."""
        with self._changed:
            return [result.task_id for result, _ in self._waiting]

    def flush(self, timeout: float) -> bool:
        """Wait until everything is committed; False if `timeout` seconds were not enough."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout)

    def stop(self) -> None:
        """Try no more; what is not committed stays in the journal."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        retries = Retries(_log, "results are sent again")
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                result, frame = self._waiting[0]
            try:
                reply = self._commit(result)
            except (LinkError, OSError) as error:
                seconds = retries.failed(error, "result not sent yet task=%s", result.task_id)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, seconds)
                continue
            retries.worked()
            if reply is not None:
                _log.info("result committed task=%s outcome=%s", result.task_id, reply.outcome)
                if reply.error:
                    self._tell(result, _verdict(reply))
            self._journal.confirmed(result)
            _free(result, frame)
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()

    def _commit(self, result: StoredResult) -> ResultReply | None:
        """The server's answer; None if it does not want to hear of the result at all.

        Raises LinkError and OSError (the disk's) for what trying again may help.
        """
        try:
            return self._send(result, self._put(result))
        except (_LostFrameError, ValueError) as error:
            problem = f"the result of task {result.task_id} cannot be sent: {error}"[:_TEXT_CHARS]
        except LinkRefused as error:
            if error.code not in _NEVER:
                raise
            problem = f"the server refused the result of task {result.task_id}: {error}"
        # It will never get there, but the round must not wait for it.
        _log.error("result given up task=%s reason=%s", result.task_id, problem)
        self._tell(result, problem)
        return self._send(
            StoredResult(
                *(result.task_id, result.lease, ReturnCode.EXECUTION_RESULT_ERROR),
                {HeaderKey.ERROR: problem},
            ),
            None,
        )

    def _send(self, result: StoredResult, blob: BlobRef | None) -> ResultReply | None:
        try:
            return self._link.commit_result(
                *(result.task_id, result.lease, result.rc), headers=result.headers, blob=blob
            )
        except LinkRefused as error:
            if error.code not in (ErrorCode.NOT_FOUND, ErrorCode.FORBIDDEN):
                raise
            _log.error("nobody wants the result task=%s error=%s", result.task_id, error)
            self._tell(result, f"nobody wants the result of {result.task_id}: {error}")
            return None

    def _tell(self, result: StoredResult, text: str) -> None:
        self._on_problem("result", text)
        if result.rc == ReturnCode.OK:
            self._on_refused(result.task_id, text)

    def _put(self, result: StoredResult) -> BlobRef | None:
        inline, path = result.inline, result.path
        if inline is not None:
            blob = blob_ref([inline])
            self._link.put_blob(blob, lambda offset: [memoryview(inline)[offset:]])
        elif path is not None:
            blob = blob_ref(_read(path, result.size, 0))
            self._link.put_blob(blob, lambda offset: _read(path, result.size, offset))
        else:
            return None
        return blob


def _verdict(reply: ResultReply) -> str:
    if reply.outcome is CommitOutcome.LATE:
        return f"it came too late: {reply.error}"
    return f"{reply.rc}: {reply.error}"


class _LostFrameError(Exception):
    """The frame of a result is not on the disk any more."""


def _read(path: Path, size: int, offset: int) -> Iterator[bytes]:
    """The frame's bytes from `offset` on; the file behind it may be longer, but not shorter."""
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise _LostFrameError(f"the stored frame is gone: {error}") from error
    with file:
        file.seek(offset)
        while offset < size:
            chunk = file.read(min(_CHUNK_BYTES, size - offset))
            if not chunk:
                raise _LostFrameError(
                    f"the stored frame cannot be read: {path} has {offset} bytes where {size} were "
                    "accepted"
                )
            yield chunk
            offset += len(chunk)


def _free(result: StoredResult, frame: StoredFrame | None) -> None:
    if frame is not None:
        frame.release()
    elif result.path is not None:
        # Written for an earlier client job: no pipe waits for it to come back.
        result.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            result.path.parent.rmdir()
