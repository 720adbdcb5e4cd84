"""PipeHandler: threads, queue and callbacks round one pipe; the rules are in protocol."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from federant.pipe.arguments import check_number
from federant.pipe.base import Pipe
from federant.pipe.callbacks import Callbacks, News
from federant.pipe.errors import PeerGoneError
from federant.pipe.message import Message, MsgId, Topic
from federant.pipe.outbox import Outbox
from federant.pipe.protocol import Answer, Delivery, Inbox, Life, Outcome, Terms
from federant.pipe.stored_frame import StoredFrame

logger = logging.getLogger(__name__)

REMEMBERED_MESSAGES: Final = 4096
"""How many received messages a handler remembers, so as to know a duplicate."""

LONGEST_WAIT: Final = 3600.0
"""Seconds; how long the reader of a pipe that wakes it waits when nothing else is due."""

SIGNAL_INTERVAL: Final = 0.1
"""Seconds; how often an abort signal, which can wake nobody, is looked at between two tries."""


class AbortSignal(Protocol):
    """What may be given to send_to_peer to end it: something that can be triggered."""

    @property
    def triggered(self) -> bool: ...


class PipeHandler:
    """Reads a pipe, keeps its peer aware of us, and delivers messages in spite of losses.

    A message comes out once however often it arrives: to the message callback, in the reader's
    thread, or without one to get_next and wait_next. ABORT, END and PEER_GONE, of which the first
    that comes is the last message read, go to the status callback or into the same queue. All
    methods may be called from any thread. A handler lives once: after stop make a new one.
    """

    def __init__(
        self,
        pipe: Pipe,
        read_interval: float = 0.1,
        heartbeat_interval: float = 5.0,
        heartbeat_timeout: float = 30.0,
        resend_interval: float | None = 2.0,
        max_resends: int | None = 5,
        default_request_timeout: float = 5.0,
    ) -> None:
        """Takes a pipe that is opened before start. Bad values: ValueError or TypeError.

        read_interval: seconds between two looks, only for a pipe that cannot wake its reader.
        heartbeat_interval, heartbeat_timeout: seconds; 0 as timeout: the peer is never gone.
        resend_interval: seconds between two tries; None or 0 never sends again.
        max_resends: None has no limit.
        default_request_timeout: seconds that send_to_peer waits when it is told no timeout.
        """
        check_number("read_interval", read_interval, above=0)
        check_number("heartbeat_interval", heartbeat_interval, above=0)
        check_number("heartbeat_timeout", heartbeat_timeout, least=0)
        if 0 < heartbeat_timeout <= heartbeat_interval:
            raise ValueError(
                "heartbeat_timeout must be 0 (never) or more than heartbeat_interval "
                f"({heartbeat_interval}), got {heartbeat_timeout}"
            )
        if resend_interval is not None:
            check_number("resend_interval", resend_interval, least=0)
        if max_resends is not None:
            check_number("max_resends", max_resends, least=0)
        check_number("default_request_timeout", default_request_timeout, above=0)
        self.pipe = pipe
        self.read_interval = read_interval
        self.heartbeat_interval = heartbeat_interval
        self.heartbeat_timeout = heartbeat_timeout
        self.resend_interval = resend_interval
        self.max_resends = max_resends
        self.default_request_timeout = default_request_timeout
        self.asked_to_stop = False
        self.peer_is_up_or_dead = threading.Event()
        """Set by the first sign of the peer: a message, or the news that it is gone."""
        self.status: Message | None = None
        """The ABORT, END or PEER_GONE that has come; PEER_GONE's data: {"clean": bool, "text"}."""
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)  # the queue, or the end of it
        self._changed = threading.Condition(self._lock)  # all else
        self._life = Life(heartbeat_interval, heartbeat_timeout, time.monotonic)
        self._inbox = Inbox(REMEMBERED_MESSAGES)
        self._queue: deque[Message] = deque()
        self._outbox = Outbox(pipe, time.monotonic)
        self._reader: threading.Thread | None = None
        self._receiving = False
        self._callbacks = Callbacks()

    # -- callbacks: they run in the reader's thread; one that raises is logged, no more ------------

    def set_status_cb(self, cb: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """ABORT, END and PEER_GONE go to cb(msg, *args, **kwargs) instead of into the queue."""
        self._callbacks.set(News.STATUS, cb, args, kwargs)

    def set_message_cb(self, cb: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """All other messages go to cb(msg, *args, **kwargs) instead of into the queue."""
        self._callbacks.set(News.MESSAGE, cb, args, kwargs)

    def set_duplicate_cb(self, cb: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """A message that came before and is not answered by accept or refuse goes to cb(msg, ...).

        Without it such a duplicate is dropped.
        """
        self._callbacks.set(News.DUPLICATE, cb, args, kwargs)

    def set_cancel_cb(self, cb: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """The peer's word that one task is void goes to cb(msg, *args, **kwargs)."""
        self._callbacks.set(News.CANCEL, cb, args, kwargs)

    def set_notice_cb(self, cb: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """What the peer's person should read of one task goes to cb(msg, *args, **kwargs)."""
        self._callbacks.set(News.NOTICE, cb, args, kwargs)

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to read and to send heartbeats; once; does nothing after stop."""
        with self._changed:
            if self._reader is not None or self.asked_to_stop:
                return
            self._life.heard()
            self._reader = threading.Thread(
                target=self._read_messages, name="federant-pipe-reader", daemon=True
            )
            self._reader.start()
            threading.Thread(
                target=self._send_heartbeats, name="federant-pipe-heartbeat", daemon=True
            ).start()

    def stop(self, close_pipe: bool = True) -> None:
        """Ends everything at once and wakes every waiting call; what is queued is lost.

        When it returns, the pipe is closed, or (close_pipe=False) no longer read by this handler.
        """
        with self._lock:
            if self.asked_to_stop:
                return
            self.asked_to_stop = True
            self._queue.clear()
            self._arrived.notify_all()
            self._changed.notify_all()
        self._outbox.end((Outcome.ACCEPTED, Outcome.READ), "the handler was stopped")
        if close_pipe:
            self.pipe.close()
        if threading.current_thread() is not self._reader:
            with self._changed:
                self._changed.wait_for(lambda: not self._receiving)
        self.peer_is_up_or_dead.clear()

    def pause(self) -> None:
        """Reads nothing, sends no heartbeat and takes nobody for gone, until resume."""
        with self._changed:
            self._life.pause()
            self._changed.notify_all()
        self.pipe.wake()

    def resume(self) -> None:
        with self._changed:
            self._life.resume()
            self._changed.notify_all()

    # -- receiving ---------------------------------------------------------------------------------

    def get_next(self) -> Message | None:
        """The next message of the queue, or None; never blocks, and accepts the message.

        So whoever knows no more than this call need not answer anybody. Use wait_next, with accept
        or refuse, where a message counts as taken over only once it is safe.
        """
        msg = self.wait_next(0)
        if msg is not None and msg is not self.status:
            self.accept(msg)
        return msg

    def wait_next(self, timeout: float | None = None) -> Message | None:
        """The next message of the queue, at once when it is there or arrives.

        None after timeout seconds (None: no limit), and at once when no more can come: the handler
        was stopped, or `status` is set.
        """
        with self._lock:
            self._arrived.wait_for(
                lambda: self._queue or self.asked_to_stop or self.status is not None, timeout
            )
            return self._queue.popleft() if self._queue else None

    def accept(self, msg: Message, rc: str = "OK") -> bool:
        """Tells the sender of msg that it is taken over; its duplicates get the same answer again.

        True if the answer was handed over. If it is lost, the sender asks again and gets it then.
        """
        return self._answer(msg, Answer(True, rc))

    def refuse(self, msg: Message, rc: str, text: str) -> bool:
        """Tells the sender of msg that it is not wanted, why, and that trying again is useless."""
        return self._answer(msg, Answer(False, rc, text))

    # -- sending -----------------------------------------------------------------------------------

    def send_to_peer(
        self, msg: Message, timeout: float | None = None, abort_signal: AbortSignal | None = None
    ) -> bool:
        """True: the peer has read the message. False: not known to be so, or stopped, or aborted.

        With a timeout (seconds, above 0) an unread message is sent again as max_resends says; with
        None there is one try of default_request_timeout seconds. cancel_delivery(msg.msg_id) ends
        it. TypeError for data that cannot travel.
        """
        if timeout is not None:
            check_number("timeout", timeout, above=0)

        def aborted() -> bool:
            return abort_signal is not None and abort_signal.triggered

        if timeout is None:
            terms = Terms(Outcome.READ, self.default_request_timeout)
        else:
            terms = Terms(Outcome.READ, timeout, self._resend_interval(), self.max_resends)
        look_every = LONGEST_WAIT if abort_signal is None else SIGNAL_INTERVAL
        return self._bring_out(msg, terms, aborted, look_every).outcome is Outcome.READ

    def deliver(
        self,
        msg: Message,
        progress_timeout: float,
        max_resends: int | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Delivery:
        """Sends msg until the peer accepts or refuses it (accept, refuse), and says how it ended.

        progress_timeout: seconds without progress after which a try has failed.
        max_resends: None has no limit; without effect where nothing is sent again.
        cancel: looked at in the beginning and by cancel_delivery; True ends the delivery.
        Over a pipe whose peer never answers (Pipe.can_answer), what is read counts as accepted.
        TypeError for data that cannot travel.
        """
        check_number("progress_timeout", progress_timeout, above=0)
        until = Outcome.ACCEPTED if self.pipe.can_answer() else Outcome.READ
        terms = Terms(until, progress_timeout, self._resend_interval(), max_resends)
        delivery = self._bring_out(msg, terms, cancel or _never, LONGEST_WAIT)
        return Delivery(Outcome.ACCEPTED) if delivery.outcome is Outcome.READ else delivery

    def cancel_delivery(self, msg_id: MsgId, text: str = "cancelled by its sender") -> None:
        """Ends the deliver or send_to_peer of that message at once, if there is one."""
        self._outbox.cancel(msg_id, text)

    def notify_end(self, data: Any, timeout: float | None = None) -> bool:
        """Tells the peer that the work is done; see notify_abort."""
        return self._notify(Topic.END, data, timeout)

    def notify_abort(self, data: Any, timeout: float | None = None) -> bool:
        """Tells the peer to stop. True: it has read it. False: not within timeout seconds.

        timeout None: default_request_timeout. Raises nothing for a pipe that is of no more use.
        """
        return self._notify(Topic.ABORT, data, timeout)

    # -- within: sending ---------------------------------------------------------------------------

    def _resend_interval(self) -> float | None:
        return self.resend_interval if self.pipe.can_resend() else None

    def _notify(self, topic: str, data: Any, timeout: float | None) -> bool:
        msg = Message.new_request(topic, data)
        terms = Terms(Outcome.READ, self.default_request_timeout if timeout is None else timeout)
        return self._bring_out(msg, terms, _never, LONGEST_WAIT).outcome is Outcome.READ

    def _bring_out(
        self, msg: Message, terms: Terms, aborted: Callable[[], bool], look_every: float
    ) -> Delivery:
        try:
            return self._outbox.bring_out(msg, terms, aborted, look_every)
        except BrokenPipeError as error:
            self._peer_gone(str(error), clean=False)
            return Delivery(Outcome.STOPPED, f"the pipe is broken: {error}")

    def _answer(self, msg: Message, answer: Answer) -> bool:
        with self._lock:
            answer = self._inbox.answered(_key(msg), answer)
        if not self.pipe.can_answer():
            return True
        reply = Message.new_reply(Topic.ACCEPTED, answer.to_data(), msg.msg_id)
        try:
            return self._hand_over(reply)
        except BrokenPipeError as error:
            logger.debug("not sent message=%s reason=%s", reply, error)
            return False

    def _hand_over(self, msg: Message) -> bool:
        try:
            return self.pipe.send(msg, timeout=0)
        finally:
            self.pipe.release_send_cache(msg)

    def _send_heartbeats(self) -> None:
        try:
            while self._wait_for_heartbeat():
                self._hand_over(Message.new_request(Topic.HEARTBEAT, None))
        except BrokenPipeError as error:
            self._peer_gone(str(error), clean=False)
        except Exception as error:
            logger.exception("heartbeats failed")
            self._peer_gone(f"heartbeats failed: {error!r}", clean=False)

    def _wait_for_heartbeat(self) -> bool:
        with self._lock:
            while not self.asked_to_stop:
                seconds = self._life.until_heartbeat()
                if seconds == 0:
                    self._life.heartbeat_sent()
                    return True
                self._changed.wait(min(seconds, LONGEST_WAIT))
            return False

    # -- within: receiving -------------------------------------------------------------------------

    def _read_messages(self) -> None:
        try:
            while (wait := self._begin_receive()) is not None:
                began = time.monotonic()
                try:
                    msg = self.pipe.receive(wait)
                finally:
                    self._end_receive()
                if msg is not None:
                    self._take_in(msg)
                    msg = None  # its receiver may let go of it before the next one comes
                elif wait == 0:
                    self._check_life()
                elif not self.pipe.can_wake():
                    self._wait_out(began + wait)
        except PeerGoneError as error:
            self._peer_gone(str(error), clean=error.clean)
        except BrokenPipeError as error:
            self._peer_gone(str(error), clean=False)
        except Exception as error:
            logger.exception("reading the pipe failed")
            self._peer_gone(f"reading the pipe failed: {error!r}", clean=False)

    def _begin_receive(self) -> float | None:
        """Seconds to wait for a message, once not paused; None at the end of reading.

        It is 0 where the peer counts as gone: a last look, since a message at hand beats that.
        """
        with self._lock:
            self._changed.wait_for(lambda: not self._life.paused or self.asked_to_stop)
            if self.asked_to_stop or self.status is not None:
                return None
            self._receiving = True
            self._life.heard(self.pipe.get_last_peer_active_time())
            interval = LONGEST_WAIT if self.pipe.can_wake() else self.read_interval
            return min(interval, self._life.until_gone())

    def _wait_out(self, until: float) -> None:
        """For pipes that others wrote, whose receive may not wait: looks once an interval."""
        with self._lock:
            self._changed.wait_for(
                lambda: self._life.paused or self.asked_to_stop, until - time.monotonic()
            )

    def _end_receive(self) -> None:
        with self._lock:
            self._receiving = False
            if self.asked_to_stop:
                self._changed.notify_all()

    def _check_life(self) -> None:
        with self._lock:
            self._life.heard(self.pipe.get_last_peer_active_time())
            gone = self._life.until_gone() == 0
        if gone:
            self._peer_gone(f"no sign of life for {self.heartbeat_timeout:g} s", clean=False)

    def _take_in(self, msg: Message) -> None:
        with self._lock:
            self._life.heard()
        self._outbox.message_came()
        self.peer_is_up_or_dead.set()
        if msg.topic in (Topic.ABORT, Topic.END):
            self._set_status(msg, f"the peer sent {msg.topic}", ends=(Outcome.ACCEPTED,))
        elif msg.topic == Topic.ACCEPTED:
            self._take_answer(msg)
        elif msg.topic == Topic.CANCEL:
            self._callbacks.call(News.CANCEL, msg)
        elif msg.topic == Topic.NOTICE:
            self._callbacks.call(News.NOTICE, msg)
        elif msg.topic == Topic.PEER_GONE:
            logger.warning("ignored message=%s: a peer cannot say that it is gone", msg)
        elif msg.topic != Topic.HEARTBEAT:
            self._take_message(msg)

    def _take_answer(self, msg: Message) -> None:
        answer = Answer.from_data(msg.data)
        if answer is None:
            logger.warning("ignored message=%s: it holds no answer", msg)
        else:
            self._outbox.answered(msg.req_id, answer)

    def _take_message(self, msg: Message) -> None:
        with self._lock:
            new = self._inbox.admit(_key(msg))
            if new and News.MESSAGE not in self._callbacks and not self.asked_to_stop:
                self._queue.append(msg)
                self._arrived.notify()
        if not new:
            self._take_duplicate(msg)
        elif News.MESSAGE in self._callbacks:
            self._callbacks.call(News.MESSAGE, msg)

    def _take_duplicate(self, msg: Message) -> None:
        with self._lock:
            answer = self._inbox.answer(_key(msg))
        if answer is not None:
            _let_go(msg)
            self._answer(msg, answer)
            return
        self._outbox.asked_again(msg.msg_id)
        if News.DUPLICATE in self._callbacks:
            self._callbacks.call(News.DUPLICATE, msg)
        else:
            _let_go(msg)

    def _peer_gone(self, text: str, *, clean: bool) -> None:
        msg = Message.new_request(Topic.PEER_GONE, {"clean": clean, "text": text})
        ends = (Outcome.ACCEPTED, Outcome.READ)
        self._set_status(msg, f"the peer is gone: {text}", ends=ends)

    def _set_status(self, msg: Message, text: str, *, ends: tuple[Outcome, ...]) -> None:
        with self._lock:
            if self.asked_to_stop or self.status is not None:
                return
            self.status = msg
            if News.STATUS not in self._callbacks:
                self._queue.append(msg)
            self._arrived.notify_all()
        self._outbox.end(ends, text)
        self.peer_is_up_or_dead.set()
        if News.STATUS in self._callbacks:
            self._callbacks.call(News.STATUS, msg)


def _never() -> bool:
    return False


def _let_go(msg: Message) -> None:
    """Nobody will see the message: a file that its data may lie in goes back to its sender."""
    if isinstance(msg.data, StoredFrame):
        msg.data.release()


def _key(msg: Message) -> tuple[str, MsgId]:
    return msg.msg_type, msg.msg_id
