"""Relays on this machine, with and without TLS, and cells that use them."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from federant.cellnet.admission import Admission
from federant.cellnet.relay import RelayThread
from federant.link.identity import Identity
from federant.link.kit import Kit
from federant.link.tls import server_context
from federant.pipe import CellPipe, Mode
from federant.provision import FederationKits, make_federation
from federant.server.cells import CellPort
from federant.server.door.admission import Gate
from federant.server.door.holders import Holders
from federant.server.door.revocations import Revocations
from federant.server.serving import HttpService, listen, url_of
from federant.server.state import Store
from federant.server.wakeups import Wakeups
from federant.testing.certificates import Odd, odd_kit

SITE = "site-1"


@pytest.fixture(scope="session")
def plain_relay() -> Iterator[str]:
    """The address of site-1's relay."""
    relay = RelayThread(SITE, "127.0.0.1", 0, Admission(SITE, None), None)
    yield f"http://127.0.0.1:{relay.port}"
    relay.stop()


@pytest.fixture(scope="session")
def kits(tmp_path_factory: pytest.TempPathFactory) -> FederationKits:
    """Of two sites, and of two agents of the first one."""
    return make_federation(
        tmp_path_factory.mktemp("federation"),
        sites=["site-1", "site-2"],
        agents=[("site-1", "gpu-7"), ("site-1", "gpu-8")],
    )


@pytest.fixture(scope="session")
def tls_relay(kits: FederationKits) -> Iterator[str]:
    """The address of site-1's relay, which speaks TLS with site-1's kit."""
    admission = Admission(SITE, kits.sites[SITE])
    relay = RelayThread(SITE, "127.0.0.1", 0, admission, admission.context())
    yield f"https://127.0.0.1:{relay.port}"
    relay.stop()


@pytest.fixture(scope="session")
def server_relay(kits: FederationKits, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the federation that has a relay, and does nothing else."""
    kit = kits.server
    with closing(Store.in_file(tmp_path_factory.mktemp("server") / "state.db")) as store:
        cells = CellPort(Gate(kit.identity.federation, Revocations(store), Holders()), 100)
        service = HttpService(FastAPI(), Wakeups(), server_context(kit), cells=cells)
        with listen("127.0.0.1", 0, secure=True) as listening:
            thread = threading.Thread(target=service.run, args=([listening],), name="server")
            thread.start()
            yield url_of(listening, "https://localhost")
            service.stop()
            thread.join()


@pytest.fixture
def odd(tmp_path: Path, kits: FederationKits) -> Callable[..., Kit]:
    """``odd(identity, Odd.EXPIRED)``: a kit with that wrong."""

    def make(identity: Identity, wrong: Odd | None = None) -> Kit:
        return odd_kit(tmp_path / f"odd-{wrong}", kits, identity, wrong)

    return make


@pytest.fixture
def new_cell_pipe(plain_relay: str) -> Iterator[Callable[..., CellPipe]]:
    """new_cell_pipe(mode) gives a pipe; all of one test meet, and are closed after it."""
    token = f"agent-{uuid.uuid4().hex[:8]}"
    made: list[CellPipe] = []

    def new(
        mode: Mode, root_url: str = plain_relay, kit: Kit | None = None, **more: Any
    ) -> CellPipe:
        pipe = CellPipe(
            mode,
            SITE,
            more.pop("token", token),
            root_url,
            secure_mode=kit is not None,
            workspace_dir=str(kit.folder) if kit else "",
            **more,
        )
        made.append(pipe)
        return pipe

    yield new
    for pipe in made:
        pipe.close()


@pytest.fixture
def denials(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What the relay's log says of whom it did not let in, and the reasons."""
    caplog.set_level(logging.WARNING, "federant.cellnet")
    return lambda: "\n".join(
        record.message for record in caplog.records if record.message.startswith("denied")
    )
