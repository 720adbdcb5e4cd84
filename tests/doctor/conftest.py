"""A federation's kits, and its server as a process that speaks TLS."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from federant.provision import FederationKits, make_federation

HOST = "federation.invalid"
"""The server's certificate is for that name too, which only a proxy can reach."""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "FEDERANT_KIT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FederationKits]:
    """Of a server that runs and has a relay, a site whose trainer is there, an operator, agents."""
    kits = make_federation(
        tmp_path_factory.mktemp("doctor"),
        host="localhost",
        hosts=["127.0.0.1", HOST],
        sites=["site-1", "site-2"],
        operators=["alice"],
        agents=[("site-1", "gpu-7"), ("site-1", "gpu-8")],
    )
    with (kits.server.folder / "server.toml").open("a") as file:
        file.write("\n[relay]\n")
    (kits.sites["site-1"].folder / "train.py").touch()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "federant", "server", "--kit", str(kits.server.folder)),
            *("--host", "127.0.0.1", "--port", "0"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield kits.at(process.stdout.readline().split()[-1])
        process.terminate()
