"""FilePipe: agent and client job with nothing between them but a folder that both can write to."""

import os
import weakref
from collections.abc import Collection
from pathlib import Path
from typing import Final

from federant.pipe.arguments import check_number, checked_channel
from federant.pipe.base import Mode, Pipe
from federant.pipe.file.end import FileAccessor, FileEnd, FileLayout, Setup
from federant.pipe.file.life import Terms
from federant.pipe.file.line import FileLine
from federant.pipe.file.nvflare import NvflareLine
from federant.pipe.file.place import FilePlace
from federant.pipe.message import Message

PEER_TIMEOUT: Final = 120.0
"""Seconds of silence after which an end on another host counts as dead, unless told otherwise."""


class FilePipe(Pipe):
    """A pipe through a shared folder, also between two hosts; whoever may write there takes part.

    Either end may be opened first, minutes apart. Messages are files that appear whole, by rename;
    each meeting of two ends has a folder of its own, so that nothing of an earlier one is ever
    read. A large message is written once and read once; at the active end, on one host, its arrays
    are views of a private mapping.

    The folder is looked at every file_check_interval seconds while a call waits, and at once when
    the kernel says that something came: on one host, with the package inotify_simple (the extra
    `file`). On one host a lock tells at once that the other end is dead; over hosts each end beats
    while one of its calls waits, and counts as dead after peer_timeout seconds of silence. Clocks
    are never compared. A forked child cannot use its parent's pipe.

    Foreign things in the folder are moved to `<root_path>/<channel>/quarantine` and logged. close
    removes what this end made, and folders, the channel's among them, only if they are empty.
    """

    def __init__(
        self,
        mode: Mode,
        root_path: str | Path,
        file_check_interval: float = 0.1,
        *,
        peer_timeout: float = PEER_TIMEOUT,
        trust_locks: bool = True,
        defer: bool = False,
        keep: Collection[Path] = (),
        layout: FileLayout = FileLayout.FEDERANT,
        taken_folder: Path | None = None,
    ) -> None:
        """file_check_interval, peer_timeout: seconds above 0.

        trust_locks: False where locks of the file system are not to be believed: then only silence
        is death. defer: the passive end receives data as StoredFrame, unread. keep: files which it
        must not take away, though the process that took them is dead. layout: "nvflare" for an end
        that runs nvflare 2.7; there is no lock then, nobody says goodbye, and what was read counts
        as accepted. taken_folder: with that layout, where the passive end keeps what it defers.
        """
        super().__init__(mode)
        if not isinstance(root_path, str | Path):
            raise TypeError(f"root_path must be a str or a Path, got {type(root_path).__name__}")
        if not str(root_path):
            raise ValueError("root_path must name a folder, got an empty string")
        check_number("file_check_interval", file_check_interval, above=0)
        check_number("peer_timeout", peer_timeout, above=0)
        if defer and self.mode is Mode.ACTIVE:
            raise ValueError("defer is for the passive end: the active end maps what it receives")
        if layout not in tuple(FileLayout):
            raise ValueError(f"layout must be 'federant' or 'nvflare', got {layout!r}")
        self.root_path = Path(root_path)
        self.layout = FileLayout(layout)
        self.file_check_interval = file_check_interval
        self.peer_timeout = peer_timeout
        self.trust_locks = trust_locks
        place, terms = FilePlace(self.root_path, self.mode), Terms(peer_timeout, trust_locks)
        setup = Setup(place, file_check_interval, terms, defer, frozenset(keep))
        self._line: FileEnd
        if self.layout is FileLayout.NVFLARE:
            self._line = NvflareLine(setup, taken_folder)
        else:
            self._line = FileLine(setup)
        _pipes.add(self)

    def set_file_accessor(self, accessor: FileAccessor) -> None:
        """Has it write and read the data of all messages; only in the layout "nvflare".

        Before open. The path that it is given may also become a folder. ValueError in federant's
        own layout, whose files are what a site keeps and sends on.
        """
        if self.layout is not FileLayout.NVFLARE:
            raise ValueError(
                "a file accessor is for a FilePipe with layout='nvflare'; this one has federant's "
                "own layout, which carries arrays and plain values as they are"
            )
        for name in ("read", "write"):
            if not callable(getattr(accessor, name, None)):
                raise TypeError(
                    f"a file accessor needs a method {name}, {accessor!r:.100} has none"
                )
        self._line.accessor = accessor

    def open(self, name: str) -> None:
        """Also takes away what dead processes left of this channel, when this is the passive end.

        Raises PipeBusyError if another process under the same kernel holds the passive end (one of
        another host is taken over from), OSError if the folder cannot be used.
        """
        self._line.open(checked_channel(name))

    def close(self) -> None:
        self._line.close()

    def clear(self) -> None:
        self._line.clear()

    def send(self, msg: Message, timeout: float | None = None) -> bool:
        """Also raises SpoolError when the file cannot be written, for want of room say.

        A message that lies unread is not written again when it is sent again.
        """
        return self._line.send(msg, timeout)

    def receive(self, timeout: float | None = None) -> Message | None:
        return self._line.receive(timeout)

    def can_resend(self) -> bool:
        return self._line.can_resend

    def can_answer(self) -> bool:
        return self._line.can_answer

    def can_wake(self) -> bool:
        return True

    def wake(self) -> None:
        self._line.wake()

    def get_last_peer_active_time(self) -> float:
        return self._line.active_at

    def arguments(self) -> dict[str, object]:
        return {
            "root_path": str(self.root_path),
            "file_check_interval": self.file_check_interval,
            "peer_timeout": self.peer_timeout,
            "trust_locks": self.trust_locks,
            "layout": str(self.layout),
        }

    def abandon_in_child(self) -> None:
        """For the fork hook."""
        self._line.abandon_in_child()


_pipes: "weakref.WeakSet[FilePipe]" = weakref.WeakSet()


def _abandon_all_in_child() -> None:
    for pipe in list(_pipes):
        pipe.abandon_in_child()


os.register_at_fork(after_in_child=_abandon_all_in_child)
