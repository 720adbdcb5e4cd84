"""A server that speaks TLS, the kits of its federation, and kits with a thing wrong."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from federant.link.expiry import ExpiryWatch
from federant.link.identity import Identity
from federant.link.kit import Kit
from federant.link.tls import server_context
from federant.provision import FederationKits, make_federation
from federant.server.cells import CellPort
from federant.server.door.admission import Gate
from federant.server.door.revocations import Revocations
from federant.server.routes.app import create_app
from federant.server.routes.services import Services
from federant.server.serving import HttpService, listen, url_of
from federant.server.wakeups import Wakeups
from federant.testing.certificates import Odd, odd_kit


@pytest.fixture(scope="session")
def kits(tmp_path_factory: pytest.TempPathFactory) -> FederationKits:
    """Of a server, two sites, an operator, and an agent of the first site."""
    return make_federation(
        tmp_path_factory.mktemp("federation"),
        sites=["site-1", "site-2"],
        operators=["alice"],
        agents=[("site-1", "gpu-7"), ("site-1", "gpu-8")],
    )


@pytest.fixture
def odd(tmp_path: Path, kits: FederationKits) -> Callable[..., Kit]:
    """``odd(identity, Odd.EXPIRED)``: a kit with that wrong."""

    def make(identity: Identity, wrong: Odd | None = None, **options: Any) -> Kit:
        return odd_kit(tmp_path / f"odd-{wrong}", kits, identity, wrong, **options)

    return make


ServingTls = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def serving_tls(kits: FederationKits) -> ServingTls:
    """``with serving_tls(services) as url``; ``kit`` is another than the federation's server's;
    ``most_cells``: it has a relay for so many; ``options`` are those of the service."""

    @contextmanager
    def serve(
        services: Services,
        kit: Kit = kits.server,
        *,
        port: int = 0,
        most_cells: int = 0,
        **options: Any,
    ) -> Iterator[str]:
        revocations = Revocations(services.store)
        secure = replace(
            services,
            federation=kits.server.identity.federation,
            certificate=ExpiryWatch(kit).facts,
            revocations=revocations,
        )
        if most_cells:
            gate = Gate(secure.federation, revocations, secure.holders)
            options["cells"] = CellPort(gate, most_cells)
        service = HttpService(create_app(secure), Wakeups(), server_context(kit), **options)
        revocations.cut = service.cut
        with listen("127.0.0.1", port, secure=True) as listening:
            thread = threading.Thread(target=service.run, args=([listening],), name="tls-server")
            thread.start()
            try:
                yield url_of(listening, "https://localhost")
            finally:
                services.wakeups.close()
                service.stop()
                thread.join(60)
        assert not thread.is_alive()

    return serve


@pytest.fixture
def url(serving_tls: ServingTls, services: Services) -> Iterator[str]:
    with serving_tls(services) as url:
        yield url


@pytest.fixture
def denials(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What the server's log says of whom it did not let in, and the reasons."""
    caplog.set_level(logging.WARNING, "federant.server")
    return lambda: "\n".join(
        record.message for record in caplog.records if record.message.startswith("denied")
    )
