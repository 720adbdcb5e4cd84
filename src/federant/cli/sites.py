"""`federant sites`."""

from __future__ import annotations

from federant.cli.connection import KitFolder, Server, federation_at
from federant.cli.following import ago, is_revoked
from federant.cli.output import Verbosity, add_texts, errors, print_table, set_up_log, table_of


def sites(server: Server = None, kit: KitFolder = None, verbose: Verbosity = 0) -> None:
    """List the sites that the server knows, and when it last heard of each.

    A site that runs asks the server for jobs at least each half minute, which the server notes to
    the minute: it is here, and seen now. One that is silent for longer than a minute and a half has
    stopped, or cannot reach the server. One whose certificate was revoked is told so.

    Example: [bold]federant sites --server http://127.0.0.1:8750[/bold]
    """
    set_up_log(verbose)
    with federation_at(server, kit) as federation:
        known = federation.sites()
    if not known:
        errors.print("no site has said hello yet; start one with: federant site FILE")
        return
    table = table_of("site", "state", "last seen", "instance")
    for site in known:
        state, seen = ("here", "now") if site.alive else ("silent", ago(site.silent_seconds))
        if is_revoked(site):
            state = "revoked"
        add_texts(table, site.name, state, seen, site.instance)
    print_table(table)
