"""`federant provision add`, `add-agent`, `add-operator`: kits for who comes later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federant.cli.output import extra, plain_errors
from federant.cli.provision.options import KITS, Csr, Dir, Hosts, say, say_fingerprint

if TYPE_CHECKING:
    from federant.link.identity import Role


def add(
    site: Annotated[str, typer.Argument(help="The new site's name.")],
    hosts: Hosts = None,
    csr: Csr = None,
    folder: Dir = KITS,
) -> None:
    """Make the kit of one more site.

    Nothing else changes: the server lets the site in by its certificate. Hosts are those under
    which the site's own agents on other machines dial it.

    Example: [bold]federant provision add site-4[/bold]
    """
    with extra("provision"):
        from federant.link.identity import Role
    _add(folder, Role.SITE, site, hosts=hosts or (), csr=csr)


def add_agent(
    name: Annotated[str, typer.Argument(help="The agent's name.")],
    site: Annotated[str, typer.Option(help="The site whose tasks it may serve.")],
    job: Annotated[
        str, typer.Option(help="The only job that it may serve; default: every one of the site.")
    ] = "",
    relay: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="The address of the site's relay, https://host:port, which the agent dials.",
        ),
    ] = "",
    csr: Csr = None,
    folder: Dir = KITS,
) -> None:
    """Make the kit of a trainer's agent on another machine than its site.

    With it one can do less than with the site's kit: serve that site's client jobs, or one of them.
    A trainer that is given the kit's folder dials the relay by itself; the address stands in the
    kit's kit.toml, where it can be changed, or put in later.

    Example: [bold]federant provision add-agent gpu-7 --site site-1 --relay https://host:8760[/bold]
    """
    with extra("provision"):
        from federant.link.identity import Role
    _add(folder, Role.AGENT, name, site=site, job=job, relay=relay, csr=csr)


def add_operator(
    name: Annotated[str, typer.Argument(help="The operator's name.")],
    csr: Csr = None,
    folder: Dir = KITS,
) -> None:
    """Make the kit of somebody who submits, follows and stops jobs.

    Example: [bold]federant provision add-operator alice[/bold]
    """
    with extra("provision"):
        from federant.link.identity import Role
    _add(folder, Role.OPERATOR, name, csr=csr)


def _add(
    folder: Path,
    role: Role,
    name: str,
    *,
    site: str = "",
    job: str = "",
    relay: str = "",
    hosts: Sequence[str] = (),
    csr: Path | None = None,
) -> None:
    with extra("provision"):
        from federant.provision import (
            Party,
            ProvisionError,
            checked_host,
            checked_relay,
            fingerprint,
            identity_of,
            open_federation,
            read_request,
        )
    with plain_errors(ProvisionError, OSError), open_federation(folder) as federation:
        key = None if csr is None else read_request(csr)
        identity = identity_of(federation.settings.name, role, name, site=site, job=job)
        dialled = checked_relay(relay) if relay else ""
        party = Party(identity, tuple(map(checked_host, hosts)), dialled)
        made = federation.add(party, key)
    if key is None:
        say(f"made {made}, the kit of {identity.title}; copy it to its machine")
    else:
        say(
            f"made {made}, the kit of {identity.title} without its key; copy what is in it into "
            "the folder where the key is"
        )
        say_fingerprint(fingerprint(key))
    if site and not dialled:  # an agent
        say('what it dials must be put into its kit.toml: relay = "https://host:port"')
