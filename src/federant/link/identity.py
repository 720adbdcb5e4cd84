"""Who a certificate says its holder is; neither makes certificates nor decides what one may do.

An identity is written as a SPIFFE ID (https://spiffe.io, "SPIFFE-ID"), a URI that stands in the
certificate's subject alternative names::

    spiffe://hospitals/server
    spiffe://hospitals/operator/alice
    spiffe://hospitals/site/site-1
    spiffe://hospitals/site/site-1/agent/gpu-7
    spiffe://hospitals/site/site-1/job/job-7/agent/gpu-7
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .messages import NAME_PATTERN, NAME_RULE, SERVER_NAME, is_name

FEDERATION_RULE: Final = "a lowercase letter or digit, then up to 62 of those, '-' or '.'"
_FEDERATION: Final = r"[a-z0-9][a-z0-9.-]{0,62}"
_ID: Final = re.compile(
    rf"spiffe://(?P<federation>{_FEDERATION})/(?:"
    rf"(?P<server>{SERVER_NAME})"
    rf"|operator/(?P<operator>{NAME_PATTERN})"
    rf"|site/(?P<site>{NAME_PATTERN})"
    rf"(?:(?:/job/(?P<job>{NAME_PATTERN}))?/agent/(?P<agent>{NAME_PATTERN}))?"
    rf")"
)


class Role(StrEnum):
    """What somebody in a federation is."""

    SERVER = "server"
    SITE = "site"
    AGENT = "agent"
    """A trainer's agent, of one site, and perhaps for one job only."""
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Identity:
    """One party of one federation.

    ``name`` is the role's own: ``server``, the site's, the agent's, the operator's.  Only an agent
    has a ``site``, and a ``job`` where it may serve no other.  ValueError for what is no name, or
    does not belong to the role.
    """

    federation: str
    role: Role
    name: str = SERVER_NAME
    site: str = ""
    job: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(_FEDERATION, self.federation):
            raise ValueError(
                f"{self.federation!r} cannot be the name of a federation; it is {FEDERATION_RULE}"
            )
        for text in filter(None, (self.name, self.site, self.job)):
            if not is_name(text):
                raise ValueError(f"{text!r} cannot be a name; one is {NAME_RULE}")
        agent = self.role is Role.AGENT
        if not self.name or bool(self.site) is not agent or (self.job and not agent):
            raise ValueError(
                f"{self!r} is no identity: an agent has a name and a site, and perhaps a job; "
                "everybody else has a name only"
            )
        if (self.name == SERVER_NAME) is not (self.role is Role.SERVER) and not agent:
            raise ValueError(f"{SERVER_NAME!r} is the server's name and nobody else's")

    @classmethod
    def from_uri(cls, uri: str) -> Identity:
        """The identity that ``str`` wrote; ValueError for any other text."""
        found = _ID.fullmatch(uri)
        if found is None:
            raise ValueError(f"{uri!r} names nobody in a federation, as spiffe://NAME/site/S does")
        federation = found["federation"]
        if found["server"]:
            return cls(federation, Role.SERVER)
        if found["operator"]:
            return cls(federation, Role.OPERATOR, found["operator"])
        if found["agent"]:
            return cls(federation, Role.AGENT, found["agent"], found["site"], found["job"] or "")
        return cls(federation, Role.SITE, found["site"])

    def __str__(self) -> str:
        """The SPIFFE ID."""
        match self.role:
            case Role.SERVER:
                path = SERVER_NAME
            case Role.AGENT:
                job = f"/job/{self.job}" if self.job else ""
                path = f"{Role.SITE}/{self.site}{job}/{Role.AGENT}/{self.name}"
            case _:
                path = f"{self.role}/{self.name}"
        return f"spiffe://{self.federation}/{path}"

    @property
    def title(self) -> str:
        """For people: ``site site-1``, ``agent gpu-7 of site site-1``, ``operator alice``."""
        if self.role is Role.SERVER:
            return f"server of {self.federation}"
        if self.role is Role.AGENT:
            job = f" for job {self.job}" if self.job else ""
            return f"agent {self.name} of site {self.site}{job}"
        return f"{self.role} {self.name}"
