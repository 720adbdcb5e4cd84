"""`federant revoke` and `federant revocations`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from federant.cli.connection import KitFolder, Server, federation_at
from federant.cli.output import (
    Verbosity,
    add_texts,
    console,
    errors,
    fail,
    plain,
    print_table,
    set_up_log,
    table_of,
)

if TYPE_CHECKING:
    from federant.link.operator import Federation


def revoke(
    serial: Annotated[
        str | None,
        typer.Argument(
            help="The certificate's serial number, as federant provision serials lists it.",
            show_default=False,
        ),
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(help="The certificate with which this site calls, instead of a number."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for those who look it up later.")] = "",
    server: Server = None,
    kit: KitFolder = None,
    verbose: Verbosity = 0,
) -> None:
    """Revoke a certificate: its holder is cut off at once, and let in no more.

    For ever: who is to come back gets another certificate (federant provision renew), under which
    a site goes on with the results that it has kept.

    Example: [bold]federant revoke 5f1c0a93 --reason "the laptop was stolen"[/bold]
    """
    set_up_log(verbose)
    if (serial is None) is (site is None):
        raise typer.BadParameter("name the certificate's serial number, or its site (--site)")
    with federation_at(server, kit) as federation:
        number = serial or _serial_of(federation, site or "")
        revoked = federation.revoke(number, reason)
    of = revoked.identity or "nobody who has called since the server started"
    console.print(plain(f"revoked {revoked.serial}, of {of}"), soft_wrap=True)
    if not revoked.identity:
        errors.print(
            plain(
                "an agent calls its site's relay, which is told; for anybody else, is the number "
                "right? federant provision serials lists those that were issued"
            ),
            soft_wrap=True,
        )


def revocations(server: Server = None, kit: KitFolder = None, verbose: Verbosity = 0) -> None:
    """List the certificates that were revoked, when, by whom and why.

    Example: [bold]federant revocations --kit operators/alice[/bold]
    """
    set_up_log(verbose)
    with federation_at(server, kit) as federation:
        revoked = federation.revocations()
    if not revoked:
        errors.print("no certificate was revoked")
        return
    table = table_of("serial", "of", "when", "by", "reason")
    for each in revoked:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.time))
        add_texts(table, each.serial, each.identity or "-", when, each.by or "-", each.reason)
    print_table(table)


def _serial_of(federation: Federation, site: str) -> str:
    """The one certificate with which the site has called and that is not revoked yet."""
    known = {each.name: each for each in federation.sites()}
    if site not in known:
        raise fail(f"the server knows no site {site!r}; it knows: {', '.join(known) or 'none'}")
    serials = [each.serial for each in known[site].certificates if not each.revoked]
    if len(serials) == 1:
        return serials[0]
    if not serials:
        raise fail(
            f"site {site} has called with no certificate that could be revoked since the server "
            "started; name the serial number: federant provision serials lists them"
        )
    raise fail(
        f"site {site} has called with {len(serials)} certificates: {', '.join(serials)}, the last "
        "one last; name the one to revoke"
    )
