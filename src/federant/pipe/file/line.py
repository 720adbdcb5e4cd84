"""FileLine: one end of a FilePipe; what lies in the folder of a meeting is link's affair."""

import errno
import logging
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from federant.codec import FrameError, encode
from federant.pipe.arguments import check_id
from federant.pipe.base import Mode
from federant.pipe.errors import PeerGoneError
from federant.pipe.file.end import FileAccessor, Setup
from federant.pipe.file.life import NoCardError
from federant.pipe.file.link import Bye, FileLink
from federant.pipe.file.meeting import Hall
from federant.pipe.file.reading import ENVELOPE, Reading
from federant.pipe.file.wakeups import Wakeups
from federant.pipe.message import Message
from federant.pipe.sent import Sent
from federant.pipe.turns import Turns
from federant.spool import SpoolDiskFullError, SpoolError

logger = logging.getLogger(__name__)

_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


class _Arrival(NamedTuple):
    """A message that nobody has received yet."""

    link: FileLink
    name: str


class _Parted(NamedTuple):
    """A meeting is over; its folder goes once all that was sent before is received."""

    link: FileLink
    news: PeerGoneError | None


_Entry: TypeAlias = _Arrival | _Parted


class FileLine:
    """Sends and receives; the Pipe's contract says what each call means."""

    def __init__(self, setup: Setup) -> None:
        self._place = setup.place
        self._check_interval = min(setup.check_interval, setup.terms.beat_interval)
        self._terms = setup.terms
        self._keep = setup.keep
        self._wakeups = Wakeups()
        interest = partial(self._wakeups.interest, self._check_interval)
        self._turns = Turns(self._place, interest, self._work)
        self._hall = Hall(self._place, self._terms)
        self._reading = Reading(self._place, self._hall, defer=setup.defer)
        self._link: FileLink | None = None
        self._parted = 0
        self._entries: deque[_Entry] = deque()
        self._stuck: _Arrival | None = None
        self._take_at = 0.0
        self.can_resend = self.can_answer = True
        self.accessor: FileAccessor | None = None
        self.active_at = 0.0

    # -- life --------------------------------------------------------------------------------------

    def open(self, channel: str) -> None:
        with self._turns.lock:
            self._turns.check_closed()
            self._place.channel = channel
            self._place.make()
            self._wakeups.open()
            try:
                if self._place.mode is Mode.PASSIVE:
                    self._hall.open(self._keep)
                    self._wakeups.watch(self._place.folder)
                else:
                    self._offer()
            except BaseException:
                self._wakeups.close()
                raise
            self._turns.open()

    def close(self) -> None:
        with self._turns.lock:
            if not self._turns.close():
                return
            if (link := self._link) is not None:
                link.say_bye(Bye("it closed its end"))
                self._part(link, "this end is closed", clean=False)
            parted = [entry.link for entry in self._entries if isinstance(entry, _Parted)]
            for link in parted:
                link.remove()
            self._entries.clear()
            if self._place.mode is Mode.PASSIVE:
                self._hall.close()
            self._wakeups.close()
            self._place.take_down()

    def clear(self) -> None:
        self._turns.check_open()
        with self._turns.lock:
            self._turns.check_open()
            self._turns.look()
            for entry in list(self._entries):
                if isinstance(entry, _Arrival):
                    self._entries.remove(entry)
                    taken = self._reading.claim(entry.link, entry.name)
                    if taken is not None:
                        taken.unlink(missing_ok=True)
                        entry.link.receipt(entry.name, read=False)

    def wake(self) -> None:
        self._turns.wake()

    def abandon_in_child(self) -> None:
        """For the fork hook: a child that held the locks would hide its parent's death."""
        self._turns.abandon_in_child()
        self._hall.abandon_in_child()
        if self._link is not None:
            self._link.end()
        self._wakeups.close()

    # -- messages ----------------------------------------------------------------------------------

    def send(self, msg: Message, timeout: float | None) -> bool:
        self._turns.check_open()
        for name in ("msg_id", "req_id"):
            check_id(name, getattr(msg, name))
        now = time.time()
        head = [msg.msg_type, msg.topic, msg.msg_id, msg.req_id, now]
        frame = encode(msg.data, envelope={ENVELOPE: head})
        msg.dropped = ""
        key = (msg.msg_type, msg.msg_id, frame.size)
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._turns.lock:
            self._turns.check_open()
            parted = self._parted
            self._turns.wait(
                lambda: self._met() or self._parted != parted or msg.withdrawn,
                deadline,
            )
            link = self._link
            if link is None or not self._met():
                return False
            sent = link.sent.earlier(key)
            if sent is not None and msg.withdrawn:
                _give_up(link, sent, msg)
            if msg.withdrawn or (timeout == 0 and link.is_crowded):
                return False
        if sent is None:
            began = time.monotonic()
            try:
                written = link.write_aside(frame.chunks())
            except (FileNotFoundError, NotADirectoryError):
                return False
            except OSError as error:
                raise SpoolDiskFullError(
                    f"{self._place} cannot write {frame.size} bytes: {error}; make room there"
                ) from error
            if deadline is not None:  # the timeout bounds the peer's time, not the copy
                deadline += time.monotonic() - began
        with self._turns.lock:
            self._turns.check_open()
            if link.ended:
                return False
            if sent is None:
                msg.sent_time = now
                try:
                    seq = link.post(written, waits=timeout != 0)
                except FileNotFoundError:
                    return False
                if timeout == 0:
                    return True
                sent = link.sent.open[seq] = Sent(key, str(seq))
            elif timeout == 0:
                return True
            sent.waited_for, sent.given_up = True, False
            self._turns.wait(lambda: sent.settled is not None or msg.withdrawn, deadline)
            _give_up(link, sent, msg)
            msg.dropped = sent.dropped
            return sent.settled is True

    def receive(self, timeout: float | None) -> Message | None:
        self._turns.check_open()
        deadline = time.monotonic() + (timeout or 0)
        while True:
            with self._turns.lock:
                self._turns.wait(lambda: self._can_take() or self._turns.woken, deadline)
                if self._turns.woken or not self._can_take():
                    self._turns.woken = False
                    return None
                entry = self._entries.popleft()
                if isinstance(entry, _Parted):
                    entry.link.remove()
                    if entry.news is not None:
                        self._turns.bell.ring()  # the next peer may be waiting
                        raise entry.news
                    continue
                taken = self._take(entry)
            if taken is not None and (msg := self._read(entry, taken)) is not None:
                return msg

    # -- within: taking what has come; the lock is held --------------------------------------------

    def _can_take(self) -> bool:
        return bool(self._entries) and time.monotonic() >= self._take_at

    def _take(self, entry: _Arrival) -> Path | None:
        """The message's file, now this end's; None if its sender has it back, or it comes later."""
        try:
            return self._reading.claim(entry.link, entry.name)
        except OSError as error:
            if entry != self._stuck:
                self._stuck = entry
                logger.warning("a message cannot be taken pipe=%s error=%s", self._place, error)
            if not entry.link.ended:
                self._entries.appendleft(entry)
                self._take_at = time.monotonic() + self._check_interval
            return None

    # -- within: waiting, and looking into the folder; the lock is held ----------------------------

    def _work(self, ready: set[int]) -> None:
        if not self._turns.is_open:
            return
        if ready:
            self._wakeups.drain()
        if self._link is None and not self._has_news:
            try:
                if self._place.mode is Mode.ACTIVE:
                    self._offer()
                else:
                    self._let_in()
            except OSError as error:
                self._place.note_trouble(error)
        if self._link is not None:
            self._look(self._link)

    def _look(self, link: FileLink) -> None:
        # Death first: what it sent before is then in the inbox.
        death = "" if link.peer is None else link.peer.death()
        try:
            found = link.look()
            if link.peer is None and found.greeted:
                link.meet()
        except NoCardError as error:
            self._part(link, f"it cannot be met: {error}", clean=False, final=True)
            return
        except OSError as error:
            if error.errno in _GONE:
                self._part(link, "the folder of the meeting is gone", clean=False)
            else:
                self._place.note_trouble(error)
            return
        self._place.trouble_is_over()
        for path in found.junk:
            self._place.set_aside(path, "it is no part of a pipe")
        for seq, read, text in found.receipts:
            if link.sent.waits_for(seq):
                self.active_at = time.monotonic()
            link.sent.settle(seq, read=read, dropped=text)
        if found.messages:
            self.active_at = time.monotonic()
            self._entries.extend(_Arrival(link, name) for name in found.messages)
        if link.peer is not None and (found.messages or found.receipts):
            link.peer.heard()
        if found.bye is not None:
            bye = found.bye
            self._part(link, bye.text, clean=bye.clean, final=bye.final)
        elif death:
            self._part(link, death, clean=False)
        else:
            link.beat()

    def _met(self) -> bool:
        return self._link is not None and self._link.peer is not None

    @property
    def _has_news(self) -> bool:
        """Whether a peer's end is not told yet: until then its successor has to wait."""
        return any(isinstance(entry, _Parted) and entry.news for entry in self._entries)

    # -- within: meeting and parting; the lock is held ---------------------------------------------

    def _offer(self) -> None:
        """The active end's."""
        self._link = link = self._place.until_it_stays(
            lambda: FileLink.offer(self._place.make(), self._terms)
        )
        self._wakeups.watch(link.inbox)

    def _let_in(self) -> None:
        try:
            link = self._hall.newcomer()
        except FileNotFoundError:  # somebody cleared the folder away
            self._place.make()
            link = None
        if link is None:
            return
        self._link = link
        self._wakeups.watch(link.inbox)
        self._turns.changed.notify_all()

    def _part(self, link: FileLink, text: str, *, clean: bool, final: bool = False) -> None:
        """The peer is gone; the active end tells so only if it need not look for it again."""
        peer = link.peer
        left = link.is_left
        link.end()
        self._link = None
        self._parted += 1
        if not self._turns.is_open:
            if left:
                link.remove()
            return
        news = None
        if clean or final or self._place.mode is Mode.PASSIVE:
            who = "the other end" if peer is None else f"process {peer.card.pid}, the other end"
            news = PeerGoneError(f"{who} of {self._place}, is gone: {text}", clean=clean)
        else:
            logger.info("looking for the next client job pipe=%s reason=%s", self._place, text)
        self._entries.append(_Parted(link, news))

    # -- within: reading ---------------------------------------------------------------------------

    def _read(self, arrival: _Arrival, taken: Path) -> Message | None:
        """The message; None if it cannot be read and is dropped. Its sender is told either way."""
        link, name = arrival
        msg, problem = None, ""
        try:
            msg = self._reading.unpack(link, taken)
        except (FrameError, SpoolError, OSError, TypeError, ValueError) as error:
            problem = str(error) or type(error).__name__
            logger.warning("unreadable message dropped pipe=%s error=%s", self._place, problem)
            self._place.discard(taken, problem)
        with self._turns.lock:
            link.receipt(name, read=msg is not None, text=problem)
        return msg


def _give_up(link: FileLink, sent: Sent, msg: Message) -> None:
    """Its sender waits no longer; one that is withdrawn is taken back if nobody has taken it."""
    if sent.settled is None:
        sent.given_up = True
        if msg.withdrawn:
            link.withdraw(int(sent.file))
