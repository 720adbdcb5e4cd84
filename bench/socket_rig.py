"""What the link is held against: bytes over a bare socket, with Python's own ssl or without.

Run as a program it is the other side: it prints its port and answers each connection.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from federant.link.kit import Kit, load_kit
from federant.link.tls import client_context, server_context

BLOCK = 1 << 20


class Way(Enum):
    UP = b">"
    DOWN = b"<"


def transfer(port: int, size: int, kit: Kit | None, way: Way) -> None:
    """Send that many bytes and wait for the word that they came, or receive them."""
    plain = socket.create_connection(("127.0.0.1", port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    context = client_context(kit) if kit else None
    with (
        context.wrap_socket(plain, server_hostname="localhost") if context else plain as connection
    ):
        connection.sendall(way.value)
        if way is Way.UP:
            _give(connection, size)
            connection.recv(1)
        else:
            _take(connection, size)


@contextmanager
def other_side(size: int, kit: Kit | None) -> Iterator[int]:
    """Its process; gives its port."""
    command = [sys.executable, __file__, "--size", str(size)]
    if kit is not None:
        command += ["--kit", str(kit.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def _give(connection: socket.socket, size: int) -> None:
    view = memoryview(bytearray(BLOCK))
    while size:
        count = min(size, BLOCK)
        connection.sendall(view[:count])
        size -= count


def _take(connection: socket.socket, size: int) -> None:
    buffer = bytearray(BLOCK)
    while size:
        count = connection.recv_into(buffer, min(size, BLOCK))
        if not count:
            raise ConnectionError(f"{size} bytes are missing")
        size -= count


def _answer(connection: socket.socket, size: int) -> None:
    if connection.recv(1) == Way.UP.value:
        _take(connection, size)
        connection.sendall(b".")
    else:
        _give(connection, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--kit", type=Path)
    args = parser.parse_args()
    context: ssl.SSLContext | None = server_context(load_kit(args.kit)) if args.kit else None
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            plain, _ = listening.accept()
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(plain, server_side=True) if context else plain as connection:
                _answer(connection, args.size)


if __name__ == "__main__":
    main()
