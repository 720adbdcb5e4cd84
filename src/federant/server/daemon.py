"""The server's process: its parts put together in one folder, from start to stop."""

from __future__ import annotations

import logging
import shutil
import signal
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from federant.link import LinkConfigError
from federant.link.core_files import forbid_core_files
from federant.link.expiry import ExpiryWatch
from federant.link.identity import Role
from federant.link.kit import Kit
from federant.link.tls import server_context

from .blobs import FolderBlobs
from .config import DRAIN_SECONDS, RelaySettings
from .door.admission import Gate
from .door.revocations import Revocations
from .folder import ServerFolder
from .limits import Limits
from .retention import Retention
from .routes.app import create_app
from .routes.services import Services
from .runner import Runner
from .serving import HttpService, listen, url_of
from .state import Store
from .tracking import Sinks, load_settings
from .validation import ResultChecker
from .wakeups import Wakeups

if TYPE_CHECKING:
    from .cells import CellPort

_log = logging.getLogger(__name__)

_RUNNER_GRACE_SECONDS: Final = 1.0
_SWEEP_GRACE_SECONDS: Final = 2.0
_SINK_GRACE_SECONDS: Final = 2.0
"""For each sink to take what it is being given; what it does not, it gets after the next start."""


def run_server(
    folder: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None] | None = None,
    config: Path | None = None,
    kit: Kit | None = None,
    drain_seconds: float = DRAIN_SECONDS,
    relay: RelaySettings | None = None,
    limits: Limits | None = None,
) -> None:
    """Serve the federation of this folder until SIGTERM or SIGINT; call in the main thread.

    On a folder that a server has worked in, it goes on with every job where it was, and with
    ``port`` 0 under the address that its sites know, if that is free. ``ready(url)`` is called
    once; without it one line with the address is printed. ``config`` is the server's own TOML file,
    which says where metrics may go: see docs/metrics.md. With the server's startup ``kit`` only TLS
    is spoken, and only with those who show a certificate of its federation. When it is asked to
    stop, transfers under way have ``drain_seconds``; a second signal ends it at once. With
    ``relay`` cells meet at its port too. ``limits`` are what each site may take of it.

    Raises ServerConfigError for what makes no sense in the file, LinkConfigError for a kit that
    cannot be used, or, without one, for an address that other machines can reach, FolderTakenError
    if another server runs in the folder, OSError for a port in use.
    """
    forbid_core_files()
    wakeups = Wakeups()
    limits = limits or Limits()
    settings = load_settings(folder, config)
    tls = _tls(kit)
    expiry = ExpiryWatch(kit) if kit else None
    if not folder.exists():
        # None is made for a server that cannot listen.
        listen(host, port, secure=tls is not None).close()
    with (
        ServerFolder(folder) as place,
        listen(host, port, preferred_port=place.last_port, secure=tls is not None) as listening,
        closing(Store.in_file(place.database, notify=wakeups.notify)) as store,
    ):
        blobs = FolderBlobs(place.blobs, keep_free_bytes=limits.keep_free_bytes)
        runner = Runner(store, blobs, wakeups, name=place.server_id)
        retention = Retention(store, blobs, most_models=limits.models)
        sinks = Sinks(settings, store, blobs, wakeups)
        revocations = Revocations(store)
        services = Services(
            store=store,
            blobs=blobs,
            wakeups=wakeups,
            server_id=place.server_id,
            check_result=ResultChecker(store, blobs),
            check_job=lambda spec: runner.check(spec) or sinks.check(spec),
            ready=lambda: runner.ready,
            federation=kit.identity.federation if kit else "",
            certificate=expiry.facts if expiry else None,
            revocations=revocations,
            retention=retention,
            site_bytes=limits.site_bytes_on(shutil.disk_usage(folder).total),
            most_events=limits.events,
        )
        service = HttpService(
            *(create_app(services), wakeups, tls),
            drain_seconds=drain_seconds,
            cells=_cells(services, revocations, relay),
            hourly=expiry.look if expiry else _nothing,
            most_connections=limits.connections,
        )
        revocations.cut = service.cut
        with _stopped_by_signals(service):
            runner.start()
            sinks.start()
            retention.start()
            try:
                url = url_of(listening, kit.server if kit else None)
                place.announce(url)
                _log.info("serving folder=%s url=%s", folder, url)
                (ready or _print_address)(url)
                service.run(sockets=[listening])
            finally:
                wakeups.close()
                runner.stop(_RUNNER_GRACE_SECONDS)
                sinks.stop(_SINK_GRACE_SECONDS)
                retention.stop(_SWEEP_GRACE_SECONDS)


def _tls(kit: Kit | None) -> ssl.SSLContext | None:
    if kit is None:
        return None
    if kit.identity.role is not Role.SERVER:
        raise LinkConfigError(
            f"{kit.folder} is the kit of {kit.identity.title}; a server needs the server's"
        )
    return server_context(kit)


def _cells(
    services: Services, revocations: Revocations, relay: RelaySettings | None
) -> CellPort | None:
    if relay is None:
        return None
    # Only for a server that has one: it needs a library more.
    from .cells import CellPort

    gate = Gate(services.federation, revocations, services.holders)
    return CellPort(gate, relay.most_cells)


@contextmanager
def _stopped_by_signals(service: HttpService) -> Iterator[None]:
    """SIGTERM and SIGINT stop the service, and nothing else, until all is put away.

    While the service runs it has handlers of its own; when it has stopped it raises the signals
    again, which would end the process before the rest is closed.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        service.stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _nothing() -> None:
    """Without a certificate none can end."""


def _print_address(url: str) -> None:
    sys.stdout.write(f"federant server at {url}\n")
    sys.stdout.flush()
