"""Outbox: a handler's messages on their way out, and the calls that wait until they are done."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from federant.pipe.base import Pipe
from federant.pipe.message import Message, MsgId
from federant.pipe.protocol import Answer, Clock, Delivery, Outcome, Outgoing, Send, Terms


@dataclass(slots=True, eq=False)
class _Errand:
    msg: Message
    outgoing: Outgoing
    until: Outcome


class Outbox:
    """Sends each message in the thread of its caller, as its Outgoing says; thread-safe."""

    def __init__(self, pipe: Pipe, clock: Clock) -> None:
        self._pipe = pipe
        self._clock = clock
        self._changed = threading.Condition()
        self._errands: list[_Errand] = []
        self._ended: dict[Outcome, str] = {}  # what is no longer to be had, and why
        self._messages_active_at = 0.0

    def bring_out(
        self,
        msg: Message,
        terms: Terms,
        aborted: Callable[[], bool],
        look_every: float,
    ) -> Delivery:
        """Returns when the message is READ or ACCEPTED, as the terms say, or will not be.

        `aborted` is looked at whenever something happens, and between two tries every look_every
        seconds. Raises what the pipe's send raises.
        """
        outgoing = Outgoing(terms, self._clock)
        errand = _Errand(msg, outgoing, terms.until)
        with self._changed:
            msg.withdrawn = False
            if terms.until in self._ended:
                return Delivery(Outcome.STOPPED, self._ended[terms.until])
            self._errands.append(errand)
        try:
            while True:
                with self._changed:
                    if aborted():
                        outgoing.cancelled("aborted by its sender")
                    self._note_moves(outgoing)
                    step = outgoing.next()
                    if isinstance(step, Delivery):
                        return step
                    if not isinstance(step, Send):
                        self._changed.wait(min(step.seconds, look_every))
                        continue
                read = self._pipe.send(msg, step.timeout)
                with self._changed:
                    self._note_moves(outgoing)
                    outgoing.sent(read, msg.dropped)
        finally:
            with self._changed:
                self._errands.remove(errand)
            self._pipe.release_send_cache(msg)

    def cancel(self, msg_id: MsgId, text: str) -> None:
        """Ends at once what waits for that message."""
        with self._changed:
            for errand in self._errands:
                if errand.msg.msg_id == msg_id:
                    errand.msg.withdrawn = True
                    errand.outgoing.cancelled(text)
            self._changed.notify_all()
        self._pipe.wake()

    def end(self, outcomes: Collection[Outcome], text: str) -> None:
        """From now on none of these outcomes is to be had: ends what waits for one, for good."""
        with self._changed:
            for outcome in outcomes:
                self._ended.setdefault(outcome, text)
            for errand in self._errands:
                if errand.until in outcomes:
                    errand.msg.withdrawn = True
                    errand.outgoing.stopped(text)
            self._changed.notify_all()
        self._pipe.wake()

    def message_came(self) -> None:
        """A message of the peer was received: what the pipe showed until now is no progress."""
        with self._changed:
            self._messages_active_at = self._pipe.get_last_peer_active_time()

    def answered(self, msg_id: MsgId | None, answer: Answer) -> None:
        """The peer accepted or refused that message."""
        with self._changed:
            for errand in self._errands:
                if errand.msg.msg_id == msg_id and errand.until is Outcome.ACCEPTED:
                    errand.outgoing.answered(answer)
            self._changed.notify_all()

    def asked_again(self, req_id: MsgId) -> None:
        """The peer sent that request again: it has not got the reply that is on its way."""
        with self._changed:
            for errand in self._errands:
                if errand.msg.req_id == req_id:
                    errand.outgoing.asked_again()
            self._changed.notify_all()

    def _note_moves(self, outgoing: Outgoing) -> None:
        active_at = self._pipe.get_last_peer_active_time()
        if active_at > self._messages_active_at:
            outgoing.moved(active_at)
