"""A server that listens, with nobody to run its workflows: jobs stay as the tests put them."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from federant.server.app import create_app
from federant.server.blobs import FolderBlobs
from federant.server.services import Services
from federant.server.serving import HttpService, listen, url_of
from federant.server.state import Store
from federant.server.wakeups import Wakeups


@dataclass(frozen=True)
class Listening:
    url: str
    store: Store
    blobs: FolderBlobs


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Listening]:
    wakeups = Wakeups()
    store = Store.in_file(tmp_path / "server.db", notify=wakeups.notify)
    blobs = FolderBlobs(tmp_path / "blobs")
    service = HttpService(create_app(Services(store, blobs, wakeups, "test")), wakeups)
    with listen("127.0.0.1", 0) as socket:
        thread = threading.Thread(target=service.run, args=([socket],), name="server")
        thread.start()
        yield Listening(url_of(socket), store, blobs)
        service.stop()
        thread.join()
    store.close()
