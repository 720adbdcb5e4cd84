"""`federant server`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federant.cli.output import Verbosity, extra, plain_errors, set_up_log


def server(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Where the server keeps jobs, results and models; made if it is not there."
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen at; without TLS only this machine's own.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")
    ] = 8750,
    config: Annotated[
        Path | None,
        typer.Option(
            help="The server's own TOML file: to which sinks a job's metrics may go, and how."
        ),
    ] = None,
    verbose: Verbosity = 0,
) -> None:
    """Run the server of a federation.

    It prints its address when it is ready, and runs until it gets Ctrl-C or SIGTERM. Started
    again on the same folder, it goes on with every job where it was.

    A job may send its metrics to TensorBoard files in the server's folder and to Prometheus, at
    /metrics; to other sinks if the file has a table for them:

        \\[sinks.mlflow]
        tracking_uri = "http://127.0.0.1:5000"

        \\[sinks.wandb]
        project = "federant"

    Example: [bold]federant server ./federation --port 8750[/bold]
    """
    set_up_log(verbose)
    with extra("server"):
        from federant.link import LinkConfigError
        from federant.server.daemon import run_server
        from federant.server.tracking import SinkSettingsError
    with plain_errors(LinkConfigError, SinkSettingsError, OSError):
        run_server(folder, host=host, port=port, config=config)
