"""Unix-domain sockets of LocalPipe: where they lie, who may connect; what is said is not here."""

import contextlib
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from federant.pipe.errors import PipeBusyError

# sockaddr_un has room for 108 bytes; what is longer is reached through the folder's descriptor.
_LONGEST_PATH: Final = 100
_BACKLOG: Final = 16
_UCRED: Final = struct.Struct("3i")


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def private_folder(folder: Path) -> None:
    """Makes the folder (0700), or takes rights from others; PermissionError if it is not ours."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.stat()
    if state.st_uid != os.geteuid():
        raise PermissionError(
            f"{folder} belongs to user {state.st_uid}, this process runs as {os.geteuid()}: "
            "a pipe's folder must be its own user's"
        )
    if stat.S_IMODE(state.st_mode) & 0o077:
        folder.chmod(0o700)


def listen(path: Path) -> socket.socket:
    """A socket that waits for the active end. PipeBusyError if another live process does already.

    A socket file that a dead process left is taken away first.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _locked(path.parent), _address(path) as address:
            _take_away_dead(path, address)
            listener.bind(address)
            path.chmod(0o600)
            listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _check_is_ours(connection: socket.socket, path: Path) -> None:
    _, uid = credentials(connection)
    if uid != os.geteuid():
        raise PermissionError(
            f"user {uid} listens on {path}, this process runs as {os.geteuid()}: "
            "both ends of a pipe must be one user's"
        )


def connect(path: Path) -> socket.socket | None:
    """A connection to whoever listens there; None if nobody does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        with _address(path) as address:
            connection.connect(address)
        _check_is_ours(connection, path)
    except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def credentials(connection: socket.socket) -> tuple[int, int]:
    """(process id, user id) of the other end, as the kernel knows them."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(data)
    return pid, uid


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time looks whether anybody listens, and takes the place."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take_away_dead(path: Path, address: str) -> None:
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(address) == 0:
            raise PipeBusyError(f"another process listens on {path}: one client job has a channel")
    path.unlink(missing_ok=True)
