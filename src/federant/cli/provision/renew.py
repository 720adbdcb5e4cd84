"""`federant provision renew`."""

from __future__ import annotations

from typing import Annotated

import typer

from federant.cli.output import extra, fail, plain_errors
from federant.cli.provision.options import KITS, Csr, Dir, Hosts, say, say_fingerprint


def renew(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...", help="Whose kits: server, site-1, or with a folder, operators/alice."
        ),
    ] = None,
    everybody: Annotated[
        bool,
        typer.Option(
            "--all", help="Every kit in the folder, but those whose keys were made elsewhere."
        ),
    ] = False,
    hosts: Hosts = None,
    csr: Csr = None,
    folder: Dir = KITS,
) -> None:
    """Give kits a new certificate and a new key.

    The old certificate stays good until it ends or its serial number is revoked, so that there is
    time to copy the new one; it and its key are kept in the folder old. What else lies in the kit
    stays as it is.

    Example: [bold]federant provision renew site-1[/bold]
    """
    if bool(names) is everybody or (len(names or ()) != 1 and (csr is not None or hosts)):
        raise fail("give names of kits or --all; with --csr and --hosts exactly one name", code=2)
    with extra("provision"):
        from federant.provision import (
            ProvisionError,
            checked_host,
            fingerprint,
            open_federation,
            read_request,
        )
    with plain_errors(ProvisionError, OSError), open_federation(folder) as federation:
        key = None if csr is None else read_request(csr)
        checked = None if hosts is None else tuple(map(checked_host, hosts))
        if everybody:
            there = [p for p in federation.parties().values() if federation.has(p.identity)]
            chosen = [party.identity for party in there if not party.key_elsewhere]
            skipped = [party.identity for party in there if party.key_elsewhere]
        else:
            chosen, skipped = [federation.find(name) for name in names or ()], []
        for identity in chosen:
            renewed = federation.renew(identity, key, checked)
            kept = "" if renewed.kept is None else f"; the old one is kept in {renewed.kept}"
            files = "certificate.pem, ca.pem" + (" and key.pem" if key is None else "")
            say(f"renewed {identity.title}: copy {files} from {renewed.folder}{kept}")
    for identity in skipped:
        say(f"not renewed: {identity.title}, whose key is elsewhere; let its owner send a request")
    if key is not None:
        say_fingerprint(fingerprint(key))
