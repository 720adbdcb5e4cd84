"""Files that nobody else can read, and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import ProvisionError

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700
PROGRAM: Final = 0o700
PUBLIC_FILE: Final = 0o644
_PART: Final = ".part"
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is to hold, and who may read it: the most, the process's umask takes away."""

    data: bytes
    mode: int = PRIVATE_FILE


def write_new(path: Path, content: Content, *, sync: bool = False) -> None:
    """Make a file; FileExistsError if something of that name is there.

    It is never open to more than ``content.mode`` allows, not even before it has its content.
    ``sync``: it is on the disk before this returns.
    """
    descriptor = os.open(path, _NEW, content.mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.data)
        if sync:
            file.flush()
            os.fsync(descriptor)


def replace(path: Path, content: Content) -> None:
    """Give a file another content at one blow, or make it."""
    aside = path.with_name(f".{path.name}{_PART}")
    aside.unlink(missing_ok=True)
    write_new(aside, content, sync=True)
    aside.replace(path)


def make_private_folder(path: Path) -> None:
    """Make a folder for its owner only, and those above it, if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(PRIVATE_FOLDER)
    if not path.is_dir():
        raise ProvisionError(f"{path} is no folder; name another, or move it away")


def make_folder(path: Path, files: Mapping[str, Content], *, sync: bool = False) -> None:
    """Make a folder, for its owner only, with these files; ProvisionError if it is there already.

    It gets its name once all is in it: whoever is killed meanwhile leaves nothing under that name.
    """
    make_private_folder(path.parent)
    aside = path.with_name(f".{path.name}{_PART}")
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir(PRIVATE_FOLDER)
    for name, content in files.items():
        write_new(aside / name, content, sync=sync)
    try:
        aside.rename(path)  # takes the place of an empty folder only
    except OSError as error:
        shutil.rmtree(aside)
        raise ProvisionError(
            f"{path} is there already ({error.strerror}), and nothing in it was touched; move it "
            "away to have it made"
        ) from error
    if sync:
        _sync_folder(path.parent)


def remove_parts(folder: Path) -> None:
    """Remove what somebody who was killed did not finish in this folder."""
    for path in folder.glob(f".*{_PART}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
