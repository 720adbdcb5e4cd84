"""The options that several commands of `federant provision` share, and how they tell of a kit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from federant.cli.output import console, plain

KITS: Final = Path("kits")

Dir = Annotated[
    Path,
    typer.Option(
        "--dir", "--out", metavar="DIR", help="The folder with the kits and the folder ca."
    ),
]
Csr = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A request that [bold]federant provision request[/bold] made on the other machine, "
        "where the key stays: the kit comes without one.",
    ),
]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--hosts", metavar="HOST", help="A DNS name or address that it is dialled at; repeatable."
    ),
]


def say(text: str) -> None:
    """A line to whoever gave the command; names in it are shown as they are."""
    console.print(plain(text), soft_wrap=True)


def say_fingerprint(fingerprint: str) -> None:
    """By what the two who exchange a request can see that it is the right one."""
    say(f"The key's fingerprint is {fingerprint}: both machines must show the same.")
