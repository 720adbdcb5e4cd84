"""An agent's startup kit as a trainer uses it: who this is, and which relay it dials.

Whether the kit is whole, private, and still good is found out where it is used for TLS, in the cell
process. So no trainer needs what TLS needs.
"""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from federant.client.errors import JoinError
from federant.pipe import CellPipe, Mode
from federant.pipe.cell.address import relay_url

KIT_FILE: Final = "kit.toml"
"""By this file in it a folder is known for a kit's."""

RELAY_SECONDS: Final = 60.0
"""How long joining waits for a relay that is not there: a site that is started again soon is."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_PARTY = re.compile(r"spiffe://[^/]+/(?P<who>.+)")
_AGENT = re.compile(rf"site/(?P<site>{_NAME})(?:/job/(?P<job>{_NAME}))?/agent/(?P<name>{_NAME})")
_WHERE = (
    "the site's machine and the port of [relay] in the site's file, or the server's address, if "
    "cells meet there"
)
_MAKE = '"federant provision add-agent NAME --site SITE --relay https://host:port" makes one'


@dataclass(frozen=True, slots=True)
class AgentKit:
    """What a trainer needs of its kit."""

    folder: Path
    site: str
    name: str
    """The agent's: agent_id in the site's file."""
    relay: str
    """The address of the site's relay, or of the server, if cells meet there."""
    job: str = ""
    """The only job that it may serve, if the kit is for one."""

    def __str__(self) -> str:
        job = f" for job {self.job}" if self.job else ""
        return f"{self.folder}, the kit of agent {self.name} of site {self.site}{job}"

    def new_pipe(self, spool_bytes: int | None = None) -> CellPipe:
        """The trainer's end of a channel; nothing is dialled yet."""
        who = (self.site, self.name, self.relay)
        kit = str(self.folder)
        new = partial(CellPipe, Mode.ACTIVE, *who, secure_mode=True, workspace_dir=kit)
        return new() if spool_bytes is None else new(spool_bytes=spool_bytes)

    def reach_relay(self, pipes: Sequence[CellPipe], seconds: float) -> None:
        """Waits until the relay has let all of them in, which are open.

        JoinError if it is not reached in time; PipeError if it does not want them.
        """
        deadline = time.monotonic() + seconds
        for pipe in pipes:
            trouble = pipe.reach_relay(max(0.0, deadline - time.monotonic()))
            if trouble:
                raise JoinError(
                    f"{self}: no relay was reached within {seconds:g} s: {trouble}\n"
                    f"Its address, {self.relay}, stands in {self.folder / KIT_FILE}; it is "
                    f"{_WHERE}"
                )


def read_agent_kit(folder: Path) -> AgentKit:
    """The kit in a folder; JoinError if it is none, not an agent's, or names no relay."""
    place = folder / KIT_FILE
    try:
        with place.open("rb") as file:
            found: dict[str, Any] = tomllib.load(file)
    except FileNotFoundError as error:
        raise JoinError(
            f"{folder} holds no startup kit ({KIT_FILE}): is the path right? An agent's is "
            f"needed; {_MAKE}"
        ) from error
    except OSError as error:
        raise JoinError(
            f"the startup kit {place} cannot be read: {error.strerror}; give its whole folder to "
            "the account under which the trainer runs"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise JoinError(
            f"{place} is no startup kit's file: {error}; copy the whole kit again"
        ) from error
    agent = _agent(folder, found.get("identity"))
    relay = found.get("relay")
    if relay is None:
        raise JoinError(
            f"{place} does not say which relay agent {agent['name']} of site {agent['site']} "
            f'dials; add the line relay = "https://host:port", with {_WHERE}'
        )
    try:
        relay_url(str(relay), secure=True)
    except ValueError as error:
        raise JoinError(
            f"{place}: relay is {relay!r}, which is no address of a relay: it must be https://, "
            f"with {_WHERE}"
        ) from error
    return AgentKit(folder, agent["site"], agent["name"], str(relay), agent["job"] or "")


def _agent(folder: Path, identity: object) -> re.Match[str]:
    party = _PARTY.fullmatch(identity) if isinstance(identity, str) else None
    if party is None:
        raise JoinError(
            f"{folder / KIT_FILE}: identity is {identity!r}, which names nobody in a federation; "
            "copy the whole kit again"
        )
    agent = _AGENT.fullmatch(party["who"])
    if agent is None:
        raise JoinError(
            f"{folder} is the kit of {party['who'].replace('/', ' ')}, with which no trainer "
            f"joins: that takes an agent's; {_MAKE}"
        )
    return agent
