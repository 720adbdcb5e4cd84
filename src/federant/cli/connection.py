"""How a command reaches the server: the option that says where, errors in their own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federant.cli.output import extra, fail, plain_errors

if TYPE_CHECKING:
    from federant.link.operator import Federation

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        "-s",
        envvar="FEDERANT_SERVER",
        help="Address of the federation's server. Default: the kit's, or http://127.0.0.1:8750.",
        show_default=False,
    ),
]
KitFolder = Annotated[
    Path | None,
    typer.Option(
        "--kit",
        envvar="FEDERANT_KIT",
        help="Your startup kit, an operator's: without it there is no TLS.",
        show_default=False,
    ),
]


@contextmanager
def federation_at(url: str | None, kit: Path | None = None) -> Iterator[Federation]:
    """A connection for the time of one command; its errors are told in their own words."""
    with extra("site"):
        from federant.link import LinkError, LinkUnavailable
        from federant.link.operator import connect
    with plain_errors(LinkError, OSError, ValueError):
        try:
            with connect(url, kit=kit) as federation:
                yield federation
        except LinkUnavailable as error:
            raise fail(f"{error} (--server, FEDERANT_SERVER)") from error
