"""What the link is held against: bytes over a bare socket, with Python's own ssl or without.

They come from memory and are thrown away; or they are digested and go into a file, which the other
side syncs, and what the other side sends comes from a file: the work that the link does.

Run as a program it is the other side: it prints its port and answers each connection.
"""

from __future__ import annotations

import argparse
import itertools
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from federant.link.behind import Behind
from federant.link.digest import Hasher
from federant.link.kit import Kit, load_kit
from federant.link.tls import client_context, server_context

BLOCK = 1 << 20


class Way(Enum):
    UP = b">"
    DOWN = b"<"


class Work(Enum):
    NONE = b"0"
    DIGEST_AND_FILE = b"1"


def transfer(port: int, size: int, kit: Kit | None, way: Way, work: Work, folder: Path) -> None:
    """Send that many bytes and wait for the word that they came, or receive them."""
    plain = socket.create_connection(("127.0.0.1", port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    context = client_context(kit) if kit else None
    with (
        context.wrap_socket(plain, server_hostname="localhost") if context else plain as connection
    ):
        connection.sendall(way.value + work.value)
        if way is Way.UP:
            _give(connection, size)
            connection.recv(1)
        elif work is Work.NONE:
            _take(connection, size)
        else:
            _keep(connection, size, folder / "bare-received", sync=False)


@contextmanager
def other_side(size: int, kit: Kit | None, folder: Path) -> Iterator[tuple[int, int]]:
    """Its process; gives its port and its id."""
    command = [sys.executable, __file__, "--size", str(size), "--folder", str(folder)]
    if kit is not None:
        command += ["--kit", str(kit.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()


def _give(connection: socket.socket, size: int) -> None:
    view = memoryview(bytearray(BLOCK))
    while size:
        count = min(size, BLOCK)
        connection.sendall(view[:count])
        size -= count


def _give_file(connection: socket.socket, path: Path, size: int) -> None:
    buffer = memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        while size:
            count = file.readinto(buffer[: min(size, BLOCK)])
            connection.sendall(buffer[:count])
            size -= count


def _take(connection: socket.socket, size: int) -> None:
    buffer = bytearray(BLOCK)
    while size:
        count = connection.recv_into(buffer, min(size, BLOCK))
        if not count:
            raise ConnectionError(f"{size} bytes are missing")
        size -= count


def _keep(connection: socket.socket, size: int, path: Path, *, sync: bool) -> None:
    """Digest what comes and write it to a file, a block while the next comes; then remove it."""
    buffers, hasher = itertools.cycle([memoryview(bytearray(BLOCK)) for _ in range(2)]), Hasher()

    def keep(block: memoryview) -> None:
        hasher.update(block)
        file.write(block)

    with path.open("wb", buffering=0) as file:
        with Behind(keep) as behind:
            while size:
                buffer, there = next(buffers), 0
                while there < min(size, BLOCK):
                    count = connection.recv_into(buffer[there : min(size, BLOCK)])
                    if not count:
                        raise ConnectionError(f"{size} bytes are missing")
                    there += count
                behind.take(buffer[:there])
                size -= there
        hasher.digest()
        if sync:
            os.fsync(file.fileno())
    path.unlink()


def _answer(connection: socket.socket, size: int, folder: Path) -> None:
    way, work = Way(connection.recv(1)), Work(connection.recv(1))
    if way is Way.UP:
        if work is Work.NONE:
            _take(connection, size)
        else:
            _keep(connection, size, folder / "bare-kept", sync=True)
        connection.sendall(b".")
    elif work is Work.NONE:
        _give(connection, size)
    else:
        _give_file(connection, _given(folder, size), size)


def _given(folder: Path, size: int) -> Path:
    path = folder / "bare-given"
    if not path.exists():
        with path.open("wb") as file:
            for at in range(0, size, BLOCK):
                file.write(bytes(min(BLOCK, size - at)))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--kit", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    context: ssl.SSLContext | None = server_context(load_kit(args.kit)) if args.kit else None
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            plain, _ = listening.accept()
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(plain, server_side=True) if context else plain as connection:
                _answer(connection, args.size, args.folder)


if __name__ == "__main__":
    main()
