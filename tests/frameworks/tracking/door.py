"""A door in front of a server: its address stays, whichever port the server behind it takes."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading


class Door:
    """Forwards connections to ``port`` of this machine; closes them at once where that is None."""

    def __init__(self) -> None:
        self.port: int | None = None
        self._server = _Forwarder(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="door")
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Forwarder(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, door: Door) -> None:
        self.door = door
        super().__init__(("127.0.0.1", 0), _Visit)


class _Visit(socketserver.BaseRequestHandler):
    server: _Forwarder
    request: socket.socket

    def handle(self) -> None:
        if (port := self.server.door.port) is None:
            return
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as inner:
            back = threading.Thread(target=_pass_on, args=(inner, self.request), daemon=True)
            back.start()
            _pass_on(self.request, inner)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """All bytes until one side ends, which ends the other."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
