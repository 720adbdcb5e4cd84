"""How a command reaches the server: the option that says where, errors in their own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from federant.cli.output import extra, fail, plain_errors

if TYPE_CHECKING:
    from federant.link.operator import Federation

LOCAL_SERVER: Final = "http://127.0.0.1:8750"

Server = Annotated[
    str,
    typer.Option(
        "--server", "-s", envvar="FEDERANT_SERVER", help="Address of the federation's server."
    ),
]


@contextmanager
def federation_at(url: str) -> Iterator[Federation]:
    """A connection for the time of one command; its errors are told in their own words."""
    with extra("site"):
        from federant.link import LinkError, LinkUnavailable
        from federant.link.operator import connect
    with plain_errors(LinkError, OSError, ValueError):
        try:
            with connect(url) as federation:
                yield federation
        except LinkUnavailable as error:
            raise fail(f"{error} (--server, FEDERANT_SERVER)") from error
