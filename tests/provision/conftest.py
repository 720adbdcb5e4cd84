"""A federation's kits, and two parties that shake hands by TLS as OpenSSL does it, in memory."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from federant.link.kit import Kit
from federant.provision import FederationKits, make_federation

Handshake = Callable[..., tuple[list[str], list[str]]]


@pytest.fixture
def kits(tmp_path: Path) -> FederationKits:
    return make_federation(
        tmp_path / "kits",
        "hospitals",
        hosts=["127.0.0.1", "::1", "Fed.Example.Org"],
        sites={"site-1": [], "site-2": ["gate.site-2.example"]},
        operators=["alice"],
        agents=[("site-1", "gpu-7"), ("site-1", "gpu-7", "job-7")],
    )


@pytest.fixture(scope="session")
def shake_hands() -> Handshake:
    """Gives whom the server and whom the client turned out to be; ssl.SSLError if one says no."""

    def shake(server: Kit, client: Kit, name: str = "localhost") -> tuple[list[str], list[str]]:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = [
            _context(ssl.PROTOCOL_TLS_CLIENT, client).wrap_bio(
                to_client, to_server, server_hostname=name
            ),
            _context(ssl.PROTOCOL_TLS_SERVER, server).wrap_bio(
                to_server, to_client, server_side=True
            ),
        ]
        for _ in range(3):  # each end has its turn until both have said all
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        found = [_uris(end) for end in ends]
        return found[0], found[1]

    return shake


def _context(protocol: int, kit: Kit) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(kit.authority)
    context.load_cert_chain(kit.certificate, kit.key)
    return context


def _uris(end: ssl.SSLObject) -> list[str]:
    names = (end.getpeercert() or {}).get("subjectAltName", ())
    return [str(value) for kind, value in names if kind == "URI"]
