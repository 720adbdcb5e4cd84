"""How the one answer to a task reaches the client job: its result, or why there is none."""

from __future__ import annotations

import logging
import threading

from federant.client.desk import Errand, TaskDesk
from federant.client.endings import ending
from federant.client.failures import failure
from federant.exchange import ReturnCode, Shareable
from federant.pipe import Delivery, Message, Outcome, PipeHandler
from federant.spool import SpoolError

ANSWER_SECONDS = 5.0
"""How long a call waits for the client job to take the reason why there is no result."""

logger = logging.getLogger(__name__)


class AnswerSender:
    """Sends answers in the thread of its caller, and tells the desk what became of them."""

    def __init__(
        self,
        handler: PipeHandler,
        desk: TaskDesk,
        try_seconds: float,
        max_resends: int | None,
    ) -> None:
        """try_seconds, max_resends: for results; without progress, and None for no limit."""
        self._handler = handler
        self._desk = desk
        self._try_seconds = try_seconds
        self._max_resends = max_resends

    def send_result(self, errand: Errand, result: Shareable) -> bool:
        """Whether the result was accepted; the errand is finished then, in either case.

        TypeError, SpoolError: nothing of it was sent, and the errand is not finished.
        """
        try:
            delivery = self._send(errand, result, self._try_seconds, self._max_resends)
        except (TypeError, SpoolError):
            raise
        except BaseException:  # Ctrl-C, say: the result may be on its way
            self._finish(errand, "the sending of its result was interrupted")
            raise
        if delivery.accepted:
            self._desk.finish(errand, None)
        else:
            why = errand.cancelled or delivery.text
            self._finish(errand, f"its result was not accepted: {why}")
        return delivery.accepted

    def send_failure(self, errand: Errand, answer: Shareable) -> None:
        """Tells the client job why there is no result; the errand is finished then, come what may.

        It takes ANSWER_SECONDS at most: the caller waits for something else. If the client job does
        not take the answer meanwhile, it gets it when it asks again.
        """
        patience = min(ANSWER_SECONDS, self._try_seconds)
        # Signs of progress prolong a try without limit.
        limit = threading.Timer(
            patience,
            self._handler.cancel_delivery,
            (errand.reply_id, f"not taken within {patience:g} s"),
        )
        limit.name, limit.daemon = "federant-answer-limit", True
        accepted = False
        try:
            limit.start()
            accepted = self._send(errand, answer, patience, max_resends=0).accepted
        except SpoolError as error:
            logger.warning("answer not sent task_id=%s error=%s", errand.task_id, error)
        finally:
            limit.cancel()
            self._desk.finish(errand, None if accepted else answer)

    def cancel(self, errand: Errand, reason: str) -> None:
        """Ends at once what is being sent for it."""
        self._handler.cancel_delivery(errand.reply_id, reason)

    def _send(
        self, errand: Errand, answer: Shareable, progress_timeout: float, max_resends: int | None
    ) -> Delivery:
        """TypeError, SpoolError: nothing of the answer was sent."""
        request = errand.message
        reply = Message.new_reply(request.topic, answer, request.msg_id, errand.reply_id)
        looks = 0

        def cancelled() -> bool:
            nonlocal looks
            looks += 1  # before each try: from the second on, a try has come back
            return bool(errand.cancelled)

        try:
            delivery = self._handler.deliver(reply, progress_timeout, max_resends, cancelled)
        except (TypeError, SpoolError) as error:
            # A second result would go by the same name: the client job could hold this one and
            # accept that.
            if looks == 1 and reply.sent_time is None:
                raise
            delivery = Delivery(Outcome.GAVE_UP, f"a later try failed: {error!r}")
        if not delivery.accepted:
            status = self._handler.status
            if status is not None:  # the reader's own call of the desk may come a moment later
                self._desk.close(ending(status))
            logger.warning(
                "result not accepted task_id=%s outcome=%s rc=%s reason=%r",
                errand.task_id,
                delivery.outcome,
                delivery.rc,
                errand.cancelled or delivery.text,
            )
        return delivery

    def _finish(self, errand: Errand, why: str) -> None:
        self._desk.finish(errand, failure(ReturnCode.EXECUTION_EXCEPTION, why))
