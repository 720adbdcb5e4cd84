"""NvflareLine: one end of a FilePipe in the model system's own layout, for a peer that runs that.

    <root>/<channel>/x/   what the active end is to read
    <root>/<channel>/y/   what the passive end is to read
    <root>/<channel>/t/   what is still being written, or just being read

A file's name is its message: `REQ.<topic>.<msg_id>` or `REP.<topic>.<req_id>.<msg_id>`; its content
is a FOBS file. It appears by rename; that it is gone again is the receipt, and says no more than
that the peer took it: nobody accepts or refuses anything here, and no end says goodbye. Facts of
the layout: nvflare 2.7.3, `nvflare/fuel/utils/pipe/file_pipe.py`.
"""

import contextlib
import logging
import os
import re
import shutil
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any, Final

from federant.codec import FrameError, encode, fobs
from federant.pipe.base import Mode
from federant.pipe.errors import PeerGoneError, PipeClosedError
from federant.pipe.file.end import FileAccessor, Setup
from federant.pipe.file.place import write_new
from federant.pipe.file.wakeups import Wakeups
from federant.pipe.message import Message, MsgId, Topic
from federant.pipe.stored_frame import INLINE_BYTES, StoredFrame
from federant.pipe.turns import Turns
from federant.spool import SpoolDiskFullError, SpoolError, SpoolReader

logger = logging.getLogger(__name__)

_ID: Final = re.compile(r"[^./\0]{1,100}")
_OURS: Final = frozenset({Topic.ACCEPTED, Topic.CANCEL, Topic.NOTICE})
"""Topics that the peer would take for a task."""


class NvflareLine:
    """Sends and receives; where it says less than the Pipe's contract, the first lines say so."""

    def __init__(self, setup: Setup, taken: Path | None) -> None:
        """taken: where it keeps what it defers; None for a folder beside the channel's."""
        self._place = setup.place
        self._check_interval = setup.check_interval
        self._terms = setup.terms
        self._defer = setup.defer
        self._keep = setup.keep
        self._taken_in = taken
        self._wakeups = Wakeups()
        interest = partial(self._wakeups.interest, self._check_interval)
        self._turns = Turns(self._place, interest, self._work)
        self._names: deque[str] = deque()
        self._heard_at = self._looked_at = 0.0
        self._met = False
        self._news: PeerGoneError | None = None
        self._take_at = 0.0
        self._written_at = 0
        self._heartbeat: Path | None = None
        self.can_resend = self.can_answer = False
        self.accessor: FileAccessor | None = None
        self.active_at = 0.0

    # -- life --------------------------------------------------------------------------------------

    def open(self, channel: str) -> None:
        with self._turns.lock:
            self._turns.check_closed()
            self._place.channel = channel
            self._wakeups.open()
            self._make_folders()
            if self._defer:
                for path in self._taken().iterdir():
                    if path not in self._keep:
                        path.unlink(missing_ok=True)
            self._names.clear()
            self._met = False
            self._news = None
            self._turns.open()

    def close(self) -> None:
        with self._turns.lock:
            if not self._turns.close():
                return
            self._wakeups.close()
            if self._heartbeat is not None:
                self._heartbeat.unlink(missing_ok=True)
            if self._place.mode is Mode.PASSIVE:
                # A missing folder is how the active end learns of it.
                for name in "xyt":
                    shutil.rmtree(self._place.folder / name, ignore_errors=True)
            self._place.take_down()

    def clear(self) -> None:
        self._turns.check_open()
        with self._turns.lock:
            self._turns.check_open()
            self._turns.look()
            for name in self._names:
                _remove(self._inbox / name)
            self._names.clear()

    def wake(self) -> None:
        self._turns.wake()

    def abandon_in_child(self) -> None:
        self._turns.abandon_in_child()
        self._wakeups.close()

    # -- messages ----------------------------------------------------------------------------------

    def send(self, msg: Message, timeout: float | None) -> bool:
        self._turns.check_open()
        name = _name_of(msg)
        msg.dropped = ""
        pieces = None if self.accessor is not None else fobs.dump(msg.data)
        if msg.topic in _OURS:
            logger.debug("the peer knows no such message, dropped message=%s", msg)
            return True
        heartbeat = msg.topic == Topic.HEARTBEAT
        if heartbeat and self._heartbeat is not None and self._heartbeat.exists():
            return True  # the peer has not read the last one: another one says nothing new
        deadline = None if timeout is None else time.monotonic() + timeout
        began = time.monotonic()
        aside, path = self._place.folder / "t" / name, self._outbox / name
        msg.sent_time = time.time()
        try:
            self._write(aside, msg.data, pieces)
            with self._turns.lock:
                self._turns.check_open()
                self._stamp(aside)
                aside.rename(path)
                if heartbeat:
                    self._heartbeat = path
        except FileNotFoundError as error:
            self._turns.check_open()
            raise PipeClosedError(f"{self._place}: the other end has taken it down") from error
        except BaseException:
            _remove(aside)
            raise
        if timeout == 0:
            return True
        if deadline is not None:  # the timeout bounds the peer's time, not the copy
            deadline += time.monotonic() - began
        with self._turns.lock:
            self._turns.wait(lambda: not os.path.lexists(path) or msg.withdrawn, deadline)
            with contextlib.suppress(FileNotFoundError):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                return False
            if not self._outbox.is_dir():
                return False
            self.active_at = time.monotonic()
            return True

    def receive(self, timeout: float | None) -> Message | None:
        self._turns.check_open()
        deadline = time.monotonic() + (timeout or 0)
        while True:
            with self._turns.lock:
                self._turns.wait(self._has_something, deadline)
                if self._turns.woken:
                    self._turns.woken = False
                    return None
                if not self._can_take():
                    news, self._news = self._news, None
                    if news is None:
                        return None
                    raise news
                name = self._names.popleft()
                taken = self._place.folder / "t" / name
                try:
                    (self._inbox / name).rename(taken)
                except FileNotFoundError:
                    continue  # its sender has taken it back
                except OSError as error:
                    self._place.note_trouble(error)
                    self._take_at = time.monotonic() + self._check_interval
                    continue  # a later look finds it again
            msg = self._read(name, taken)
            if msg is not None:
                return msg

    # -- within: looking; the lock is held ---------------------------------------------------------

    @property
    def _inbox(self) -> Path:
        return self._place.folder / ("x" if self._place.mode is Mode.ACTIVE else "y")

    @property
    def _outbox(self) -> Path:
        return self._place.folder / ("y" if self._place.mode is Mode.ACTIVE else "x")

    def _make_folders(self) -> None:
        for name in "xyt":
            self._place.make(self._place.folder / name)
        self._wakeups.watch(self._inbox)
        self._wakeups.watch(self._outbox, leaving=True)

    def _work(self, ready: set[int]) -> None:
        if not self._turns.is_open:
            return
        if ready:
            self._wakeups.drain()
        try:
            with os.scandir(self._inbox) as found:
                entries = [(entry.stat(follow_symlinks=False), entry.name) for entry in found]
        except FileNotFoundError:
            if self._inbox.is_dir():
                return  # a file went while it was looked at: the next look is soon
            self._lose("the other end has taken the channel down", clean=True)
            self._make_folders()
            return
        except OSError as error:
            self._place.note_trouble(error)
            return
        entries.sort(key=lambda entry: (entry[0].st_mtime_ns, entry[1]))
        self._names = deque(name for _, name in entries if not name.startswith("."))
        self._look_for_life(heard=bool(self._names))

    def _has_something(self) -> bool:
        return self._can_take() or self._news is not None or self._turns.woken

    def _can_take(self) -> bool:
        return bool(self._names) and time.monotonic() >= self._take_at

    def _look_for_life(self, *, heard: bool) -> None:
        now = self._terms.clock()
        if heard or now - self._looked_at > self._terms.peer_timeout / 2:
            self._heard_at = now  # or nobody looked meanwhile: it may have shown life
        self._looked_at = now
        self._met = self._met or heard
        # What the active end does about silence, its handler decides by heartbeat_timeout.
        silent = now - self._heard_at > self._terms.peer_timeout
        if silent and self._met and self._place.mode is Mode.PASSIVE:
            self._lose(f"it was silent for {self._terms.peer_timeout:g} s", clean=False)

    def _lose(self, why: str, *, clean: bool) -> None:
        self._met = False
        self._news = PeerGoneError(f"the other end of {self._place}, is gone: {why}", clean=clean)

    # -- within: files -----------------------------------------------------------------------------

    def _write(self, path: Path, data: object, pieces: Any) -> None:
        if self.accessor is not None:
            self.accessor.write(data, str(path))
            return
        try:
            write_new(path, pieces)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise SpoolDiskFullError(f"{self._place} cannot write {path}: {error}") from error

    def _stamp(self, path: Path) -> None:
        """The peer reads in the order of modification times, whose ticks may be coarse."""
        self._written_at = max(time.time_ns(), self._written_at + 1000)
        os.utime(path, ns=(self._written_at, self._written_at))

    def _read(self, name: str, taken: Path) -> Message | None:
        problem = ""
        try:
            msg = _message_of(name)
            msg.sent_time = taken.lstat().st_mtime
            msg.data = self._data(taken)
        except (FrameError, SpoolError, OSError, TypeError, ValueError) as error:
            problem = str(error) or type(error).__name__
            logger.warning("unreadable message dropped pipe=%s error=%s", self._place, problem)
            self._place.discard(taken, problem)
            return None
        _remove(taken)
        msg.received_time = time.time()
        if msg.topic != Topic.HEARTBEAT:
            self.active_at = time.monotonic()
        return msg

    def _data(self, taken: Path) -> object:
        if self.accessor is not None:
            return self.accessor.read(str(taken))
        size = taken.lstat().st_size
        data = fobs.load(memoryview(SpoolReader(taken.parent).read(taken.name, size)))
        return self._stored(data) if self._defer and size > INLINE_BYTES else data

    def _stored(self, data: object) -> StoredFrame:
        """The same as a frame in a file of this end: what is kept and sent on is always a frame."""
        frame = encode(data)
        folder = self._taken()
        path = folder / f"{time.time_ns():x}-{os.getpid()}"
        write_new(path, frame.chunks())
        return StoredFrame.of_file(
            SpoolReader(folder), path.name, frame.size, partial(path.unlink, missing_ok=True)
        )

    def _taken(self) -> Path:
        # Not in the channel's folder: the model system's own end removes that.
        folder = self._taken_in or self._place.root / f"taken_{self._place.channel}"
        return self._place.make(folder)


def _name_of(msg: Message) -> str:
    def checked(what: str, value: MsgId | None) -> str:
        if not _ID.fullmatch(str(value)):
            raise TypeError(
                f"{what} must be 1 to 100 characters without a dot or a slash, got {value!r:.200}: "
                "in the model system's layout it is a part of a file's name"
            )
        return str(value)

    last = checked("msg_id", msg.msg_id)
    if msg.msg_type == Message.REQUEST:
        return f"{msg.msg_type}.{msg.topic}.{last}"
    return f"{msg.msg_type}.{msg.topic}.{checked('req_id', msg.req_id)}.{last}"


def _message_of(name: str) -> Message:
    match name.split("."):
        case [Message.REQUEST, topic, msg_id]:
            return Message.new_request(topic, None, msg_id)
        case [Message.REPLY, topic, req_id, msg_id]:
            return Message.new_reply(topic, None, req_id, msg_id)
    raise ValueError(f"{name!r:.200} is not the name of a message")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
