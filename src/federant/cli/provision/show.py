"""`federant provision show` and `serials`: which certificates there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federant.cli.output import add_texts, extra, plain_errors, print_table, table_of
from federant.cli.provision.options import KITS, Dir


def show(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder with all kits, or one kit.")
    ] = KITS,
) -> None:
    """List certificates: whose they are, their serial numbers, when they end, what agents dial.

    The exit status is 1 if one has ended, ends within 30 days, or does not fit its key.

    Example: [bold]federant provision show kits[/bold]
    """
    with extra("provision"):
        from federant.provision import ProvisionError, survey
    with plain_errors(ProvisionError, OSError):
        found = survey(folder)
    dials = any(seen.relay for seen in found)
    table = table_of("kit", "of", "serial", "until", "days", *(["dials"] if dials else []), "")
    for seen in found:
        add_texts(
            table,
            str(seen.place),
            seen.title,
            seen.facts.serial,
            f"{seen.facts.not_after:%Y-%m-%d}",
            str(seen.remaining.days),
            *([seen.relay] if dials else []),
            seen.condition,
        )
    print_table(table)
    if any(seen.needs_care for seen in found):
        raise typer.Exit(1)


def serials(
    name: Annotated[
        str | None, typer.Argument(help="Whose: server, site-1, operators/alice. Default: all.")
    ] = None,
    folder: Dir = KITS,
) -> None:
    """List every certificate that was ever issued, by its serial number.

    Also those whose kits are gone: by its number a certificate is revoked.

    Example: [bold]federant provision serials site-1[/bold]
    """
    with extra("provision"):
        from federant.provision import ProvisionError, open_federation
    with plain_errors(ProvisionError, OSError), open_federation(folder) as federation:
        wanted = None if name is None else federation.find(name)
        issued = [each for each in federation.authority.issued() if wanted in (None, each.identity)]
    table = table_of("serial", "of", "from", "until")
    for each in issued:
        days = (f"{each.not_before:%Y-%m-%d}", f"{each.not_after:%Y-%m-%d}")
        add_texts(table, each.serial, each.identity.title, *days)
    print_table(table)
