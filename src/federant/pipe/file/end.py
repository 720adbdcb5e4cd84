"""FileEnd: what FilePipe asks of each layout of its folder, and the layouts that there are."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from federant.pipe.file.life import Terms
from federant.pipe.file.place import FilePlace
from federant.pipe.message import Message


class FileLayout(StrEnum):
    """How messages lie in the folder; both ends must have the same."""

    FEDERANT = "federant"
    NVFLARE = "nvflare"
    """That of nvflare 2.7, for a peer that runs it: arrays and plain values; no answers."""


class FileAccessor(Protocol):
    """How a message's data becomes a file, or a folder, and data again."""

    def write(self, data: Any, file_path: str) -> None:
        """Makes the file or folder of that path."""

    def read(self, file_path: str) -> Any:
        """The data of such a file or folder, which is removed afterwards."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What an end of either layout is told; FilePipe's docstrings say what each word means."""

    place: FilePlace
    check_interval: float
    terms: Terms
    defer: bool
    keep: frozenset[Path]


class FileEnd(Protocol):
    """One end of a channel; what each call means, the Pipe's contract says."""

    can_resend: bool
    can_answer: bool
    active_at: float
    accessor: FileAccessor | None

    def open(self, channel: str) -> None: ...

    def close(self) -> None: ...

    def clear(self) -> None: ...

    def wake(self) -> None: ...

    def send(self, msg: Message, timeout: float | None) -> bool: ...

    def receive(self, timeout: float | None) -> Message | None: ...

    def abandon_in_child(self) -> None: ...
