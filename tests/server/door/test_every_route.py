"""Deny by default: what a caller's role does not open stays shut, whichever route it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import urllib3

from federant.link.identity import Role
from federant.link.kit import Kit
from federant.link.messages import SITE_HEADER, VERSION_HEADER, ErrorCode
from federant.link.tls import client_context
from federant.provision import FederationKits
from federant.server.routes.app import create_app
from federant.server.routes.services import Services

OPEN = {"/health/live", "/health/ready"}
DESCRIPTION = "/openapi.json"
"""Shut to strangers, open to whoever is of the federation."""


def routes(services: Services) -> Iterator[tuple[str, str]]:
    """Each call that the application answers, with something in the place of its parameters."""
    paths = create_app(services).openapi()["paths"]
    for path, calls in [*paths.items(), ("/metrics", ["get"]), (DESCRIPTION, ["get"])]:
        if path not in OPEN:
            filled = path.replace("{digest}", "0" * 64).replace("{seq}", "1")
            while "{" in filled:
                filled = filled[: filled.index("{")] + "x" + filled[filled.index("}") + 1 :]
            for method in calls:
                yield method.upper(), filled


def kit_of(kits: FederationKits, role: Role) -> Kit:
    return {
        Role.SERVER: kits.server,
        Role.SITE: kits.sites["site-1"],
        Role.AGENT: kits.agents["site-1.gpu-7"],
        Role.OPERATOR: kits.operators["alice"],
    }[role]


@pytest.mark.parametrize("role", [*Role, None])
def test_each_route_is_for_one_role_and_refuses_the_others(
    url: str, kits: FederationKits, services: Services, role: Role | None
) -> None:
    if role is None:
        pool = urllib3.PoolManager(retries=False, ca_certs=str(kits.server.authority))
    else:
        pool = urllib3.PoolManager(retries=False, ssl_context=client_context(kit_of(kits, role)))
    headers = {SITE_HEADER: "site-1", VERSION_HEADER: "1"}
    found = list(routes(services))
    assert len(found) > 20
    with pool as http:
        for method, path in found:
            reply = http.request(method, url + path, headers=headers, body=b"")
            mine = Role.SITE if path.startswith("/link/") else Role.OPERATOR
            if role is None:
                assert (reply.status, reply.json()["code"]) == (401, ErrorCode.NO_CERTIFICATE), path
            elif role is mine or path == DESCRIPTION:
                assert reply.status not in (401, 403), (path, reply.data)
            else:
                assert (reply.status, reply.json()["code"]) == (403, ErrorCode.WRONG_IDENTITY), path
