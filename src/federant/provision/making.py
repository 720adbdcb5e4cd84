"""Makes all kits of a federation at once: from its file, or for a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from federant.link.identity import Identity, Role
from federant.link.kit import KIT_FILE, Kit, load_kit

from .errors import ProvisionError
from .federation import open_federation
from .party import Party, checked_host, checked_relay, identity_of, place_of, server_url
from .plan import DEFAULT_PORT, Plan
from .private_files import PUBLIC_FILE, Content
from .private_files import replace as replace_file
from .settings import DEFAULT_DAYS, Settings


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What became of one party of a plan."""

    identity: Identity
    folder: Path
    made: bool
    """False: its kit was there already, and was left as it is."""


@dataclass(frozen=True, slots=True)
class FederationKits:
    """The kits of a whole federation, by the names of those whose they are."""

    folder: Path
    server: Kit
    sites: dict[str, Kit]
    operators: dict[str, Kit]
    agents: dict[str, Kit]
    """By site and name, ``site-1.gpu-7``, with a job between them where it has one."""

    def at(self, url: str) -> FederationKits:
        """The same for a server at another address, also in the files ``kit.toml``."""
        return FederationKits(
            self.folder,
            _at(self.server, url),
            {name: _at(kit, url) for name, kit in self.sites.items()},
            {name: _at(kit, url) for name, kit in self.operators.items()},
            {name: _at(kit, url) for name, kit in self.agents.items()},
        )


def carry_out(plan: Plan, folder: Path, *, now: datetime | None = None) -> list[Provisioned]:
    """Make the authority and the kits of a plan as far as they are missing."""
    done = []
    with open_federation(folder, plan.settings, now=now) as federation:
        for party in plan.parties():
            there = federation.has(party.identity)
            place = federation.folder_of(party.identity) if there else federation.add(party)
            done.append(Provisioned(party.identity, place, made=not there))
    return done


def make_federation(
    folder: Path,
    name: str = "test",
    *,
    host: str = "localhost",
    port: int = DEFAULT_PORT,
    hosts: Sequence[str] = ("127.0.0.1",),
    sites: Mapping[str, Sequence[str]] | Sequence[str] = (),
    operators: Sequence[str] = (),
    agents: Sequence[tuple[str, str] | tuple[str, str, str]] = (),
    relays: Mapping[str, str] | None = None,
    days: int = DEFAULT_DAYS,
    now: datetime | None = None,
) -> FederationKits:
    """The kits of a federation in a folder, made on the fly.

    Everybody dials the server at ``https://host:port``; its certificate is for ``hosts`` too.
    ``sites`` are names, or a mapping from names to the hosts under which agents dial them;
    ``agents`` are (site, name) or (site, name, job); ``relays`` maps sites to the addresses of
    their relays, for the kits of their agents.  Certificates begin at ``now``, some minutes
    before which they are good already.  Nothing that is there is made again, and nothing waits for
    the disk.
    """
    parties = [Party(identity_of(name, Role.SERVER), _hosts([host, *hosts]))]
    for site in sites:
        own = sites[site] if isinstance(sites, Mapping) else ()
        parties.append(Party(identity_of(name, Role.SITE, site), _hosts(own)))
    parties += [Party(identity_of(name, Role.OPERATOR, each)) for each in operators]
    for site, agent, *job in agents:
        identity = identity_of(name, Role.AGENT, agent, site=site, job=job[0] if job else "")
        relay = (relays or {}).get(site)
        parties.append(Party(identity, relay=checked_relay(relay) if relay else ""))
    kits: dict[Role, dict[str, Kit]] = {role: {} for role in Role}
    settings = Settings(name, server_url(host, port), days)
    with open_federation(folder, settings, now=now, durable=False) as made:
        for party in parties:
            if not made.has(party.identity):
                made.add(party)
            kit = load_kit(made.folder_of(party.identity))
            kits[party.identity.role][place_of(party.identity).name] = kit
    return FederationKits(
        folder=folder,
        server=kits[Role.SERVER]["server"],
        sites=kits[Role.SITE],
        operators=kits[Role.OPERATOR],
        agents=kits[Role.AGENT],
    )


def _hosts(texts: Sequence[str]) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise ProvisionError(f"{texts!r} must be a list of hosts; write [{texts!r}]")
    return tuple(dict.fromkeys(map(checked_host, texts)))


def _at(kit: Kit, url: str) -> Kit:
    moved = replace(kit, server=url)
    replace_file(kit.folder / KIT_FILE, Content(moved.toml().encode(), PUBLIC_FILE))
    return moved
