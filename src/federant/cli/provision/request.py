"""`federant provision request`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federant.cli.output import extra, plain_errors
from federant.cli.provision.options import say, say_fingerprint


def request(
    name: Annotated[str, typer.Argument(help="Who the kit is to be for, as people call it.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="A new folder, which becomes the kit. Default: the name."
        ),
    ] = None,
) -> None:
    """Make a key on this machine, and a request to have it certified.

    The key never leaves the folder. Send the request to whoever has the federation's certificate
    authority, who makes the kit by [bold]federant provision add --csr[/bold] and decides what it is
    for; copy the files that come back into the folder.

    Example: [bold]federant provision request site-4[/bold]
    """
    with extra("provision"):
        from federant.provision import ProvisionError, make_request
    with plain_errors(ProvisionError, OSError):
        made = make_request(name, Path(name) if out is None else out)
    say(f"made {made.folder}; send {made.file} to whoever has the federation's folder ca")
    say_fingerprint(made.fingerprint)
