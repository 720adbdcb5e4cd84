"""`federant status`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from federant.cli.connection import KitFolder, Server, federation_at
from federant.cli.following import ago, is_revoked
from federant.cli.output import (
    Verbosity,
    add_texts,
    console,
    errors,
    extra,
    plain,
    print_table,
    set_up_log,
    table_of,
)

if TYPE_CHECKING:
    from federant.link.operator_messages import CertificateView, SiteView, StatusReply

_DAY: Final = 24 * 3600
_GIB: Final = 1 << 30


def status(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all of it as JSON: for other programs.")
    ] = False,
    server: Server = None,
    kit: KitFolder = None,
    verbose: Verbosity = 0,
) -> None:
    """Show how the federation stands: its server, jobs and sites, and when certificates end.

    The exit status is 1 if a certificate has ended or ends within 30 days: the server's, that of
    the kit with which this is asked, or the one with which a site calls; and if the server's disk
    is so full that it takes nothing more.

    Example: [bold]federant status --kit operators/alice[/bold]
    """
    set_up_log(verbose)
    with federation_at(server, kit) as federation:
        found, url = federation.status(), federation.url
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _print(found, url)
    warnings = list(_warnings(found))
    for line in warnings:
        errors.print("[bold yellow]warning[/bold yellow]", end=" ")
        errors.print(plain(line), soft_wrap=True)
    if warnings:
        raise typer.Exit(1)


def _print(found: StatusReply, url: str) -> None:
    facts = table_of(header=False)
    add_texts(facts, "server", url)
    add_texts(facts, "version", found.version)
    add_texts(facts, "started", ago(found.up_seconds))
    jobs = ", ".join(f"{count} {state}" for state, count in found.jobs.items())
    add_texts(facts, "jobs", jobs or "none yet")
    if found.disk_free_bytes is not None:
        add_texts(facts, "disk", f"{found.disk_free_bytes / _GIB:.1f} GiB free")
    if found.certificate is not None:
        add_texts(facts, "server's certificate", _certificate(found.certificate))
    if found.caller is not None:
        add_texts(facts, "this kit's certificate", _certificate(found.caller))
    print_table(facts)
    if not found.sites:
        errors.print("no site has said hello yet")
        return
    console.print()
    table = table_of("site", "state", "last seen", "certificate")
    for site in found.sites:
        state, seen = ("here", "now") if site.alive else ("silent", ago(site.silent_seconds))
        if is_revoked(site):
            state = "revoked"
        held = newest(site)
        add_texts(table, site.name, state, seen, "-" if held is None else _certificate(held))
    print_table(table)


def newest(site: SiteView) -> CertificateView | None:
    """The certificate with which the site called last."""
    return site.certificates[-1] if site.certificates else None


def _certificate(held: CertificateView) -> str:
    if held.revoked:
        return f"{held.serial}, revoked"
    word = "until" if held.seconds_left > 0 else "ended"
    return f"{held.serial}, {word} {_date(held)}"


def _warnings(found: StatusReply) -> Iterator[str]:
    with extra("site"):
        from federant.link.certificate import WARN_BEFORE
    free = found.disk_free_bytes
    if free is not None and free < found.keep_free_bytes:
        yield (
            f"the server's disk has {free / _GIB:.1f} GiB free, of which "
            f"{found.keep_free_bytes / _GIB:.1f} GiB are kept: nothing is taken from sites; make "
            "room on it"
        )
    held = [
        ("the server's certificate", found.certificate),
        ("this kit's certificate", found.caller),
    ]
    held += [(f"the certificate of site {site.name}", newest(site)) for site in found.sites]
    for whose, each in held:
        # One that was revoked was meant to end.
        if each is None or each.revoked or each.seconds_left >= WARN_BEFORE.total_seconds():
            continue
        days = int(each.seconds_left // _DAY)
        when = f"ends in {days} days, on" if each.seconds_left > 0 else "has ended on"
        yield f"{whose} {when} {_date(each)}: renew it (federant provision renew)"


def _date(held: CertificateView) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(held.expires))
