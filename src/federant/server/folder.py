"""The server's folder: who has it, the server's own id, and where the server last listened."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit


class FolderTakenError(OSError):
    """Another server runs in the folder."""


class ServerFolder:
    """The folder of one server, taken while the object is open; made if it is not there.

    The lock goes with the process, however it ends.  FolderTakenError if another server runs in it,
    NotADirectoryError if it is something else than a folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"{path} is no folder; give the server a folder of its own")
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(path / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise FolderTakenError(
                f"another server runs in {path} ({self._last().get('url', 'it is starting')}); "
                "stop it, or give this one another folder"
            ) from None
        self.database.touch(0o600)  # also in a folder that others may read
        self.server_id = self._own_id()

    @property
    def database(self) -> Path:
        return self.path / "state.db"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    @property
    def last_port(self) -> int:
        """The port of the run before this one, so that sites find the server again; 0 if none."""
        try:
            return urlsplit(str(self._last().get("url", ""))).port or 0
        except ValueError:
            return 0

    def announce(self, url: str) -> None:
        """Write ``server.json``: where the server listens, and its process."""
        text = json.dumps({"url": url, "pid": os.getpid(), "server_id": self.server_id})
        _write(self.path / "server.json", text)

    def close(self) -> None:
        os.close(self._lock)

    def __enter__(self) -> ServerFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _last(self) -> dict[str, object]:
        try:
            found = json.loads((self.path / "server.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _own_id(self) -> str:
        place = self.path / "server.id"
        if not place.exists():
            _write(place, f"s{secrets.token_hex(6)}")
        return place.read_text().strip()


def _write(place: Path, text: str) -> None:
    """All of the text, or what was there before."""
    aside = place.with_name(place.name + ".new")
    with aside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(place)
