"""What the machine has: room on disk, memory, versions, how many files may be open."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import psutil

import federant
from federant.link.identity import Role

from .findings import Finding, ok, problem, warning
from .subject import Subject

_GIB: Final = 1 << 30
_DISK_PROBLEM_BYTES: Final = 256 << 20
_DISK_WARNING_BYTES: Final = 4 * _GIB
_MEMORY_WARNING_BYTES: Final = _GIB
_CGROUP: Final = Path("/sys/fs/cgroup/memory.max")
_OPEN_FILES: Final = {Role.SERVER: 4096}
"""A server holds some connections for each site."""
_FEW_OPEN_FILES: Final = 1024
_SLOW_SYNC_SECONDS: Final = 1.0
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "fuse.glusterfs", "9p", "afs"}
)
"""File systems on which SQLite's locks cannot be relied upon."""


def look_at_machine(subject: Subject) -> Iterator[Finding]:
    """All that can be said without asking another machine."""
    if subject.folder is not None:
        yield from look_at_disk(subject.folder, subject.site.spool_bytes if subject.site else 0)
    yield _memory()
    yield ok(
        "versions",
        f"federant {federant.__version__}, Python {platform.python_version()}, "
        f"numpy {np.__version__}",
    )
    yield _open_files(subject.role)


def look_at_disk(folder: Path, wanted_bytes: int = 0) -> Iterator[Finding]:
    """Whether the folder, or the one in which it would be made, can be worked in."""
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not place.is_dir():
        yield problem("folder", f"{place} is no folder", "name another, or remove it")
        return
    made = "" if place == folder else f", in which {folder} is made"
    free = shutil.disk_usage(place).free
    kind = _kind_of_file_system(place)
    found = f"{free / _GIB:.1f} GiB free on {kind} for {place}{made}"
    enough = max(_DISK_WARNING_BYTES, wanted_bytes)
    if free < _DISK_PROBLEM_BYTES:
        yield problem("disk", found, "make room, or name another folder")
    elif free < enough:
        advice = f"make room: {enough / _GIB:.0f} GiB may be needed"
        yield warning("disk", found, advice)
    else:
        yield ok("disk", found)
    if kind in _NETWORK:
        yield warning(
            "file system",
            f"{place} is on a network file system ({kind}), on which locks cannot be relied upon",
            "name a folder on a disk of this machine",
        )
    yield _written(place)


def _written(place: Path) -> Finding:
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".federant-doctor-") as file:
            file.write(bytes(4096))
            file.flush()
            began = time.monotonic()
            os.fsync(file.fileno())
            seconds = time.monotonic() - began
    except OSError as error:
        return problem(
            "folder",
            f"{place} cannot be written to: {error.strerror or error}",
            "give this user the right to, or name another folder",
        )
    found = f"{place} can be written to, and is on the disk after {seconds * 1000:.0f} ms"
    if seconds > _SLOW_SYNC_SECONDS:
        return warning("folder", found, "a disk that takes so long slows every result down")
    return ok("folder", found)


def _kind_of_file_system(place: Path) -> str:
    real = place.resolve()
    best, kind = "", "an unknown file system"
    for partition in psutil.disk_partitions(all=True):
        point = partition.mountpoint
        if real.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, partition.fstype or kind
    return kind


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    with suppress(OSError, ValueError):
        limit = int(_CGROUP.read_text())
        total, free = min(total, limit), min(free, limit)
    found = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    if free < _MEMORY_WARNING_BYTES:
        return warning("memory", found, "end other programs: models are held in memory")
    return ok("memory", found)


def _open_files(role: Role | None) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES.get(role, _FEW_OPEN_FILES) if role else _FEW_OPEN_FILES
    if soft == resource.RLIM_INFINITY:
        return ok("open files", "as many as one likes")
    if soft < wanted:
        return warning(
            "open files",
            f"{soft} at most (up to {hard} may be asked for)",
            f"ulimit -n {wanted}, or LimitNOFILE={wanted} in the unit of systemd",
        )
    return ok("open files", f"{soft} at most")
