"""`federant server`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

import typer

from federant.cli.output import Verbosity, extra, plain_errors, set_up_log

if TYPE_CHECKING:
    from federant.link.kit import Kit

_FILE: Final = "server.toml"
_PORT: Final = 8750
_LOOPBACK: Final = "127.0.0.1"
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - strangers are turned away by TLS


def server(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Where the server keeps jobs, results and models; made if it is not there. "
            "Default: what its own file says, or the folder data in the kit's.",
            show_default=False,
        ),
    ] = None,
    kit: Annotated[
        Path | None,
        typer.Option(
            help="The server's startup kit: its certificate and key. Without one there is no TLS.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen at. Default: what its own file says, or all of this machine's "
            "with a kit, 127.0.0.1 without.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port to listen at; 0 takes a free one. Default: what its own file says, or the "
            "one in the kit, or 8750.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="The server's own TOML file: folder, host, port, drain_seconds, relay, limits, "
            "and to which sinks metrics may go. Default: server.toml in the kit's folder, if it is "
            "there.",
            show_default=False,
        ),
    ] = None,
    verbose: Verbosity = 0,
) -> None:
    """Run the server of a federation.

    It prints its address when it is ready, and runs until it gets Ctrl-C or SIGTERM: then those who
    wait have their answer at once, and transfers under way have ten seconds (drain_seconds in the
    file); a second signal ends it at once. Started again on the same folder, it goes on with every
    job where it was, and with each cut transfer where that stopped.

    A job may send its metrics to TensorBoard files in the server's folder and to Prometheus, at
    /metrics; to other sinks if the file has a table for them:

        \\[sinks.mlflow]
        tracking_uri = "http://127.0.0.1:5000"

        \\[sinks.wandb]
        project = "federant"

    With a kit it speaks only TLS, and only with those who show a certificate of its federation:
    see federant provision --help.

    On one machine it does without: [bold]federant server ./federation[/bold]

    Example: [bold]federant server --kit kits/server[/bold]
    """
    set_up_log(verbose)
    if folder is None and kit is None and config is None:
        raise typer.BadParameter("name the server's folder, or its startup kit (--kit)")
    with extra("server"):
        from federant.link import LinkConfigError
        from federant.link.kit import load_kit
        from federant.server.config import ServerConfig, ServerConfigError, load_config
        from federant.server.daemon import run_server
    with plain_errors(LinkConfigError, ServerConfigError, OSError):
        own = None if kit is None else load_kit(kit)
        if config is None and kit is not None and (kit / _FILE).exists():
            config = kit / _FILE
        said = ServerConfig() if config is None else load_config(config)
        folder = folder or said.folder or (kit and kit / "data")
        if folder is None:
            raise typer.BadParameter("name the server's folder: here, or in its own file")
        run_server(
            folder,
            host or said.host or (_EVERYWHERE if own else _LOOPBACK),
            next(each for each in (port, said.port, _port(own)) if each is not None),
            config=config,
            kit=own,
            drain_seconds=said.drain_seconds,
            relay=said.relay,
            limits=said.limits,
        )


def _port(kit: Kit | None) -> int:
    return (kit and urlsplit(kit.server).port) or _PORT
