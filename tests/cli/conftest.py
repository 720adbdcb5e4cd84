"""A server that listens, with nobody to run its workflows: jobs stay as the tests put them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from federant.link.expiry import ExpiryWatch
from federant.link.tls import server_context
from federant.provision import FederationKits, make_federation
from federant.server.blobs import FolderBlobs
from federant.server.door.revocations import Revocations
from federant.server.limits import KEEP_FREE_BYTES
from federant.server.routes.app import create_app
from federant.server.routes.services import Services
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


@dataclass(frozen=True)
class Secure:
    """One that speaks TLS, with the kits of its federation: site-1's, alice's and bob's."""

    url: str
    kits: FederationKits


@pytest.fixture
def serving_tls(tmp_path: Path) -> Callable[..., AbstractContextManager[Secure]]:
    """``with serving_tls(days=20) as secure``: all certificates are good for so long."""

    @contextmanager
    def serve(days: int = 365) -> Iterator[Secure]:
        kits = make_federation(
            tmp_path / "kits", sites=["site-1"], operators=["alice", "bob"], days=days
        )
        wakeups = Wakeups()
        store = Store.in_file(tmp_path / "secure.db", notify=wakeups.notify)
        revocations = Revocations(store)
        services = Services(
            store,
            FolderBlobs(tmp_path / "blobs", keep_free_bytes=KEEP_FREE_BYTES),
            wakeups,
            "test",
            federation=kits.server.identity.federation,
            certificate=ExpiryWatch(kits.server).facts,
            revocations=revocations,
        )
        service = HttpService(create_app(services), wakeups, server_context(kits.server))
        revocations.cut = service.cut
        with listen("127.0.0.1", 0, secure=True) as socket:
            thread = threading.Thread(target=service.run, args=([socket],), name="server")
            thread.start()
            try:
                yield Secure(url_of(socket, "https://localhost"), kits)
            finally:
                service.stop()
                thread.join()
                store.close()

    return serve
