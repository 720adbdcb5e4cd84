"""Which cell may have which name at a relay: by its certificate, not by what it says of itself."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from federant.cellnet.errors import CellRefused
from federant.cellnet.names import End, Fqcn
from federant.cellnet.words import Refusal

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

    from federant.link.identity import Identity
    from federant.link.kit import Kit


def _none_is(_serial: str) -> bool:
    """Nobody has revoked anything."""
    return False


class Doorkeeper(Protocol):
    """Who says so at a relay; each of them CellRefused if not."""

    def identity_of(self, connection: ServerConnection) -> Identity | None:
        """Whom the certificate names; None where no certificate is asked for."""

    def check(self, fqcn: Fqcn, identity: Identity | None) -> None:
        """That one may be called so."""

    def check_job(self, identity: Identity | None, job: str) -> None:
        """That agent may take part in the job that is served there."""


class Admission:
    """Of one site. Without a kit whoever reaches the relay, on its own machine, may join.

    `is_revoked(serial)` tells which certificates are good no more.
    """

    def __init__(
        self, site: str, kit: Kit | None, is_revoked: Callable[[str], bool] = _none_is
    ) -> None:
        self._site = site
        self._kit = kit
        self._is_revoked = is_revoked

    def context(self) -> ssl.SSLContext | None:
        """How the relay speaks TLS; LinkConfigError if the kit is of no use."""
        if self._kit is None:
            return None
        from federant.link.tls import server_context

        return server_context(self._kit)

    def identity_of(self, connection: ServerConnection) -> Identity | None:
        """Whom the certificate names; None where no certificate is asked for.

        CellRefused if none is shown, or one that names nobody or was revoked.
        """
        if self._kit is None:
            return None
        from federant.cellnet.revoked import revocation
        from federant.link.tls import identities_in, serial_in

        certificate = connection.transport.get_extra_info("peercert")
        if not certificate:
            raise CellRefused(
                Refusal.FORBIDDEN,
                f"the relay of site {self._site} asks for a certificate and none was shown; use "
                "secure_mode=True and, as workspace_dir, the agent's startup kit",
            )
        found = identities_in(certificate)
        if len(found) != 1:
            raise CellRefused(
                Refusal.FORBIDDEN, f"the certificate names {len(found)} parties, it must name one"
            )
        serial = serial_in(certificate)
        if self._is_revoked(serial):
            raise CellRefused(Refusal.REVOKED, revocation(found[0], serial))
        return found[0]

    def check(self, fqcn: Fqcn, identity: Identity | None) -> None:
        """CellRefused unless that one may be called so."""
        if fqcn.site != self._site:
            raise CellRefused(
                Refusal.FORBIDDEN,
                f"{fqcn}: this is the relay of site {self._site}; check site_name and root_url",
            )
        if identity is not None and self._kit is not None:
            require_role(fqcn, identity, self._kit.identity.federation)

    def check_job(self, identity: Identity | None, job: str) -> None:
        """CellRefused if the agent's kit is for another job than the one that is served there."""
        require_job(identity, job)


def require_role(fqcn: Fqcn, identity: Identity, federation: str) -> None:
    """CellRefused unless a name of that role, and of that site, is that one's."""
    from federant.link.identity import Identity, Role

    if fqcn.end is End.JOB:
        allowed = Identity(federation, Role.SITE, fqcn.site)
        wanted = f"the kit of {allowed.title}"
    else:
        job = identity.job if identity.role is Role.AGENT else ""
        allowed = Identity(federation, Role.AGENT, fqcn.agent_id, fqcn.site, job)
        wanted = f"the kit of agent {fqcn.agent_id} of site {fqcn.site}"
    if identity != allowed:
        raise CellRefused(
            Refusal.FORBIDDEN,
            f"{identity.title} may not join as {fqcn}; that takes {wanted}",
        )


def require_job(identity: Identity | None, job: str) -> None:
    """CellRefused if the agent's kit is for another job."""
    if identity is not None and identity.job and identity.job != job:
        raise CellRefused(
            Refusal.FORBIDDEN, f"{identity.title} may not take part in job {job or '(none)'}"
        )
