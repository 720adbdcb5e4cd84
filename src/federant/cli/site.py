"""`federant site`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federant.cli.output import Verbosity, console, extra, plain_errors, set_up_log


def site(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="The site's own TOML file: its name, its server, its trainers. "
            "Default: site.toml in the kit's folder.",
            show_default=False,
        ),
    ] = None,
    kit: Annotated[
        Path | None,
        typer.Option(
            help="The site's startup kit: its certificate and key, its name and its server. "
            "Without one there is no TLS.",
        ),
    ] = None,
    verbose: Verbosity = 0,
) -> None:
    """Run one site: it asks the server for jobs and starts the trainers that they name.

    The file says who the site is, where its server is, and which commands a job may name:

        name = "site-1"
        server = "http://127.0.0.1:8750"
        folder = "work"

        \\[trainers.digits]
        command = ["{python}", "digits_trainer.py", "--data", "share.npz"]

    Nothing else is ever run. With a startup kit, which the file may name too (kit = "DIR"), name
    and server may be left to it. One line tells that the server has answered. Ctrl-C or SIGTERM
    ends the site and all that it started.

    On one machine it does without: [bold]federant site site-1.toml[/bold]

    Example: [bold]federant site --kit kits/sites/site-1[/bold]
    """
    set_up_log(verbose)
    if file is None:
        if kit is None:
            raise typer.BadParameter("name the site's file, or its startup kit (--kit)")
        file = kit / "site.toml"
    with extra("site"):
        from federant.link import LinkConfigError
        from federant.site.config import load_config
        from federant.site.daemon import run_site
        from federant.site.errors import SiteError
    with plain_errors(SiteError, LinkConfigError, OSError):
        config = load_config(file, kit)
        trainers = ", ".join(sorted(config.trainers)) or "none"
        line = f"{config.name}: connected to {config.server}; trainers: {trainers}"
        status = run_site(config, lambda: console.print(line, markup=False, soft_wrap=True))
    raise typer.Exit(status)
