"""The words that a trainer's processes left when they crashed, for whoever asks why it died."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

from federant.client.last_words import WORDS_SUFFIX

_PROCESSES_TOLD = 8
_LENGTH = 8192
"""Characters told of each; the end of a traceback says most."""


def has_last_words(folder: Path) -> bool:
    return bool(_files(folder))


def read_last_words(folder: Path) -> str:
    """What the first few said, in the order in which they crashed; empty if none did.

    The first is most likely the cause: the others lose their peer, or are ended for its sake.
    """
    files = _files(folder)
    told = [_end_of(path) for path in files[:_PROCESSES_TOLD]]
    if len(files) > _PROCESSES_TOLD:
        told.append(f"({len(files) - _PROCESSES_TOLD} more processes crashed after these)")
    return "\n".join(text for text in told if text)


def forget_last_words(folder: Path) -> None:
    """What an earlier trainer said does not explain the end of the next one."""
    shutil.rmtree(folder, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    # By the clock of the machine that keeps them: those of the processes may differ.
    found = []
    for path in folder.glob(f"*{WORDS_SUFFIX}"):
        try:
            state = path.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(state.st_mode):  # to open a pipe might take for ever
            found.append((state.st_mtime_ns, path.name, path))
    return [path for _, _, path in sorted(found)]


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            first = file.readline(_LENGTH).decode("utf-8", "replace")
            size = path.stat().st_size
            file.seek(max(file.tell(), size - _LENGTH))
            return first + file.read(_LENGTH).decode("utf-8", "replace").rstrip()
    except OSError:
        return ""
