"""Who is to get a certificate: an identity, its hosts, and where its kit lies in the folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from federant.link.identity import Identity, Role

from .errors import ProvisionError

HOST_RULE: Final = "a DNS name such as fed.example.org, or an IP address"
_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DNS_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_MAX_DNS_NAME: Final = 253


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody to be given a certificate."""

    identity: Identity
    hosts: tuple[str, ...] = ()
    """DNS names and IP addresses under which it is dialled; only servers and sites have any."""
    relay: str = ""
    """Of an agent: the address of its site's relay, as far as it is known."""

    @property
    def place(self) -> PurePosixPath:
        """Where its kit lies in the folder of all kits: ``sites/site-1``.

        An agent's is named like its cell, ``agents/site-1.job-7.gpu-7``: no name has dots, so no
        two agents share a place.
        """
        return place_of(self.identity)


def place_of(identity: Identity) -> PurePosixPath:
    """Where an identity's kit lies in the folder of all kits."""
    match identity.role:
        case Role.SERVER:
            return PurePosixPath("server")
        case Role.AGENT:
            parts = filter(None, (identity.site, identity.job, identity.name))
            return PurePosixPath("agents", ".".join(parts))
        case _:
            return PurePosixPath(f"{identity.role}s", identity.name)


def identity_of(
    federation: str, role: Role, name: str = "server", *, site: str = "", job: str = ""
) -> Identity:
    """An identity, or ProvisionError where the names do not make one."""
    try:
        return Identity(federation, role, name, site, job)
    except ValueError as error:
        raise ProvisionError(str(error)) from None


def checked_host(text: str) -> str:
    """A host as it stands in a certificate, or ProvisionError."""
    try:
        return str(ip_address(text))
    except ValueError:
        pass
    numeric = text.rpartition(".")[2].isdecimal()  # 10.0.0.300 is a mistyped address, no name
    if len(text) > _MAX_DNS_NAME or not _DNS_NAME.fullmatch(text) or numeric:
        raise ProvisionError(
            f"{text!r} is no host; give {HOST_RULE}, without a scheme, a port or wildcards"
        )
    return text.lower()


def checked_relay(text: str) -> str:
    """The address of a site's relay as it stands in an agent's kit, or ProvisionError."""
    wrong = ProvisionError(
        f"{text!r} is no address of a relay; give https://, a host, and the port that [relay] in "
        "the site's file says, such as https://site-1.example.org:8760, or the server's address, "
        "if cells meet there"
    )
    try:
        parts = urlsplit(text)
        host, port = checked_host(parts.hostname or ""), parts.port
    except ValueError:
        raise wrong from None
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme != "https" or not port or more:
        raise wrong
    return server_url(host, port)


def as_address(host: str) -> IPv4Address | IPv6Address | None:
    """The host as an IP address; None for a DNS name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def server_url(host: str, port: int) -> str:
    """The address of a federation's server: ``https://host:port``."""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
