"""Who calls, and whether it speaks our language: what holds for every route.

The dependencies are coroutines, though they wait for nothing: a plain function would cost each
request a change of thread.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Header, Request

from federant.link.identity import Identity, Role
from federant.link.messages import (
    NAME_PATTERN,
    NAME_RULE,
    PROTOCOL,
    SERVER_NAME,
    SITE_HEADER,
    VERSION,
    VERSION_HEADER,
    ErrorCode,
    is_name,
)
from federant.server.door.peers import PEER, Peer
from federant.server.door.refusals import RefusedError

# A call without one of them is refused with a code that says so, and not as one of wrong form.
_CallerHeader = Annotated[
    str,
    Header(
        alias=SITE_HEADER,
        description="the calling site's name",
        json_schema_extra={"pattern": f"^{NAME_PATTERN}$"},
    ),
]
_VersionHeader = Annotated[
    str,
    Header(
        alias=VERSION_HEADER,
        description=f"the version of {PROTOCOL} that the caller speaks, such as {VERSION}",
    ),
]


def peer_in(request: Request) -> Peer | None:
    """Who calls, by its certificate; None without TLS."""
    peer: Peer | None = request.scope["state"].get(PEER)
    return peer


def _require_role(request: Request, role: Role) -> Identity | None:
    """The caller by its certificate, which must be of that role.

    None without TLS: then the server listens on a loopback address only, and whoever reaches it
    is believed.
    """
    peer = peer_in(request)
    if peer is None and request.scope["scheme"] == "http":
        return None
    identity = peer.identity if peer else None
    if identity is None or identity.role is not role:
        who = identity.title if identity else "nobody known"
        raise RefusedError(
            ErrorCode.WRONG_IDENTITY,
            f"the caller is {who}, and {request.method} {request.url.path} is for {role}s only; "
            f"call it with the kit of one",
        )
    return identity


async def site_of(request: Request, name: _CallerHeader = "") -> str:
    """The calling site: the only place that says which one it is."""
    identity = _require_role(request, Role.SITE)
    if not is_name(name):
        raise RefusedError(
            ErrorCode.NO_SITE,
            f"the header {SITE_HEADER} must name the calling site ({NAME_RULE}), got {name!r}",
        )
    if name == SERVER_NAME:
        raise RefusedError(
            ErrorCode.NO_SITE,
            f"no site may be called {name!r}: what the server tells of itself stands under that "
            "name; give the site another in its file",
        )
    if identity is not None and identity.name != name:
        raise RefusedError(
            ErrorCode.WRONG_IDENTITY,
            f"{identity.title} may not act as site {name}: its certificate is for the one name "
            "only; put that name into the site's file, or use the other site's kit",
        )
    return name


Site = Annotated[str, Depends(site_of)]


async def _operator(request: Request) -> None:
    _require_role(request, Role.OPERATOR)


OPERATOR_ONLY: Final = Depends(_operator)
"""What every route depends on that is no site's."""


def require_version(version: str, who: str) -> None:
    """Refuse, by name, a version that this server does not speak."""
    if version != str(VERSION):
        raise RefusedError(
            ErrorCode.UNKNOWN_VERSION,
            f"{who} speaks {PROTOCOL} version {version or '(none)'}, this server speaks version "
            f"{VERSION}; install releases of federant that have a version in common",
        )


async def known_version(name: _CallerHeader = "", version: _VersionHeader = "") -> None:
    """Every link call says in a header which version it is of."""
    require_version(version, f"site {name or '(unnamed)'}")


async def _meant_by_its_sender(request: Request, version: _VersionHeader = "") -> None:
    """Refuse a change that any page in a browser on this machine could have asked for.

    A browser sends a page's form or plain text to every server, and a header of our own only to
    one that has agreed to it beforehand; this server agrees to nothing.
    """
    if not version:
        raise RefusedError(
            ErrorCode.FORBIDDEN,
            f"{request.method} {request.url.path} changes something and lacks the header "
            f"'{VERSION_HEADER}: {VERSION}', without which any web page could have sent it; add it",
        )
    require_version(version, "the caller")


MEANT: Final = Depends(_meant_by_its_sender)
"""What every call of the operator's that changes something depends on."""
