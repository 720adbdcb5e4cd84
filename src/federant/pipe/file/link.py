"""FileLink: one meeting of a FilePipe's two ends, as a folder; whom to meet is not decided here.

    link-<id>/to_passive/   what the active end says: alive, beat, bye, m-<seq>-<w|n>, r-<seq>-...
    link-<id>/to_active/    what the passive end says
    link-<id>/aside/        what is still being written
    link-<id>/taken/        what the active end is reading

`m-...` is a message, a frame whose envelope has the message's type, topic and ids; `w`: its
sender waits for the receipt `r-<seq>-read`, or `r-<seq>-dropped` with the reason. Every file
appears whole, by rename. `bye` is JSON: whether the end is clean, whether it is final, and why.
"""

import contextlib
import json
import logging
import os
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from federant.pipe.base import Mode
from federant.pipe.file.life import (
    ALIVE,
    BEAT,
    Alive,
    NoCardError,
    PeerLife,
    Terms,
    read_small,
)
from federant.pipe.file.place import remove_tree, write_new
from federant.pipe.sent import SentLog

logger = logging.getLogger(__name__)

BYE: Final = "bye"
LINK: Final = re.compile(r"link-[0-9a-f]{16}")
UNREAD_FILES: Final = 1000
"""With more than this waiting for the peer, a message that waits for nothing is not taken."""

_LONGEST_REASON: Final = 1000
_MESSAGE: Final = re.compile(r"m-(\d{12})-([wn])")
_RECEIPT: Final = re.compile(r"r-(\d{12})-(read|dropped)")


@dataclass(frozen=True, slots=True)
class Bye:
    """How an end took its leave."""

    text: str
    clean: bool = True
    final: bool = False
    """Whether it wants no more of the other end."""


@dataclass(slots=True)
class Found:
    """What is new in the inbox."""

    messages: list[str] = field(default_factory=list)
    receipts: list[tuple[int, bool, str]] = field(default_factory=list)
    """Sequence number, whether it was read, why not."""
    junk: list[Path] = field(default_factory=list)
    greeted: bool = False
    bye: Bye | None = None


class FileLink:
    """One end's view of a meeting. Used under the pipe's lock, but for `write_aside`."""

    def __init__(self, folder: Path, mode: Mode, terms: Terms) -> None:
        self.folder = folder
        self.inbox = folder / f"to_{mode.lower()}"
        self.outbox = folder / f"to_{mode.opposite.lower()}"
        self.sent = SentLog()
        self.peer: PeerLife | None = None
        """None until the ends have met."""
        self.ended = False
        self._terms = terms
        self._alive: Alive | None = None
        self._seen = 0
        self._sent_seq = 0
        self._crowded = False
        self._beats = 0
        self._beat_at = terms.clock()

    @classmethod
    def offer(cls, channel: Path, terms: Terms) -> "FileLink":
        """The active end's: a new folder that the passive end will find."""
        name = f"link-{uuid.uuid4().hex[:16]}"
        hidden = channel / f".{name}"
        for folder in ("to_passive", "to_active", "aside", "taken"):
            (hidden / folder).mkdir(mode=0o700, parents=True)
        alive = Alive(hidden / "to_passive" / ALIVE)
        try:
            hidden.rename(channel / name)
        except BaseException:
            alive.close()
            raise
        link = cls(channel / name, Mode.ACTIVE, terms)
        link._alive = alive
        return link

    def greet(self, peer: PeerLife) -> None:
        """The passive end's: takes the active end, whose offer this is. OSError if it is gone."""
        path = self._aside()
        alive = Alive(path)
        try:
            path.rename(self.outbox / ALIVE)
        except BaseException:
            alive.close()
            raise
        self._alive, self.peer = alive, peer

    def meet(self) -> None:
        """The active end's, once it was greeted. OSError, NoCardError as PeerLife."""
        self.peer = PeerLife(self.inbox, ALIVE, self._terms)

    # -- looking -----------------------------------------------------------------------------------

    def look(self) -> Found:
        """What has come since the last look; FileNotFoundError if the folder is gone."""
        names = self._names()
        numbers = sorted(int(m[1]) for n in names if (m := _MESSAGE.fullmatch(n)))
        numbers = [number for number in numbers if number > self._seen]
        if BYE in names or (numbers and numbers[-1] != self._seen + len(numbers)):
            # A listing may miss what came while it was made; what came before that it has.
            names = self._names()
        found = Found()
        for name in sorted(names):
            if name == ALIVE:
                found.greeted = True
            elif (message := _MESSAGE.fullmatch(name)) is not None:
                if int(message[1]) > self._seen:
                    self._seen = int(message[1])
                    found.messages.append(name)
            elif (receipt := _RECEIPT.fullmatch(name)) is not None:
                self._take_receipt(name, int(receipt[1]), found, read=receipt[2] == "read")
            elif name == BYE:
                found.bye = self._read_bye()
            elif name != BEAT and not name.startswith("."):
                found.junk.append(self.inbox / name)
        return found

    def _names(self) -> set[str]:
        return set(os.listdir(self.inbox))  # noqa: PTH208 - the names alone, once an interval

    def _take_receipt(self, name: str, seq: int, found: Found, *, read: bool) -> None:
        path = self.inbox / name
        text = ""
        with contextlib.suppress(OSError, NoCardError):
            text = read_small(path).decode("utf-8", "replace")
            path.unlink()
        found.receipts.append((seq, read, text))

    def _read_bye(self) -> Bye:
        try:
            said: Any = json.loads(read_small(self.inbox / BYE))
            return Bye(str(said["text"]), said["clean"] is True, said["final"] is True)
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            return Bye(f"its goodbye cannot be read: {error}", clean=False)

    # -- saying ------------------------------------------------------------------------------------

    def write_aside(self, chunks: Iterable[memoryview]) -> Path:
        """A file with these bytes, for `post`; FileNotFoundError if the folder is gone."""
        path = self._aside()
        write_new(path, chunks)
        return path

    def post(self, written: Path, *, waits: bool) -> int:
        """Hands over what was written aside; its sequence number."""
        self._sent_seq += 1
        written.rename(self._message(self._sent_seq, waits=waits))
        return self._sent_seq

    def withdraw(self, seq: int) -> None:
        """Takes back a message that nobody is to read any more, if it lies there still."""
        with contextlib.suppress(OSError):
            self._message(seq, waits=True).unlink()
            self.sent.open.pop(seq, None)

    @property
    def is_crowded(self) -> bool:
        """Whether the peer leaves very many messages unread; looked at now and then."""
        if self._crowded or self._sent_seq % 64 == 63:
            with contextlib.suppress(OSError):
                self._crowded = sum(1 for _ in self.outbox.iterdir()) > UNREAD_FILES
        return self._crowded

    def receipt(self, name: str, *, read: bool, text: str = "") -> None:
        """Tells the sender, if it waits for that, what became of a message."""
        message = _MESSAGE.fullmatch(name)
        if message is None or message[2] != "w" or self.ended:
            return
        kind = "read" if read else "dropped"
        self._try_to_say(f"r-{message[1]}-{kind}", text[:_LONGEST_REASON])

    def beat(self) -> None:
        """Shows life, if it is due and nothing else tells of it."""
        now = self._terms.clock()
        if now < self._beat_at or (self.peer is not None and self.peer.by_lock):
            return
        self._beat_at = now + self._terms.beat_interval
        self._beats += 1
        self._try_to_say(BEAT, str(self._beats))

    def say_bye(self, bye: Bye) -> None:
        self._try_to_say(
            BYE, json.dumps({"text": bye.text, "clean": bye.clean, "final": bye.final})
        )

    def _try_to_say(self, name: str, text: str) -> None:
        """On a full disk, say, the other end goes without: it asks again, or finds out late."""
        try:
            self._say(name, text)
        except FileNotFoundError:
            return  # without its folder the other end does not wait either
        except OSError as error:
            logger.warning("not said folder=%s what=%s error=%s", self.folder, name, error)

    def _say(self, name: str, text: str) -> None:
        self.write_aside([memoryview(text.encode())]).rename(self.outbox / name)

    # -- the end -----------------------------------------------------------------------------------

    def end(self) -> None:
        """No more is said here: who waits for a message to be read waits in vain."""
        self.ended = True
        self.sent.end()
        for held in (self._alive, self.peer):
            if held is not None:
                held.close()

    @property
    def is_left(self) -> bool:
        """Whether the other end will not look into the folder any more."""
        if self.peer is None or self.peer.death():
            return True
        return not self.inbox.is_dir() or (self.inbox / BYE).exists()

    def remove(self) -> None:
        remove_tree(self.folder)

    def _aside(self) -> Path:
        return self.folder / "aside" / uuid.uuid4().hex

    def _message(self, seq: int, *, waits: bool) -> Path:
        return self.outbox / f"m-{seq:012d}-{'w' if waits else 'n'}"
