"""A federation of hosts of their own: lines are cut and an address changes while sites train."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from federant.link.kit import Kit
from federant.provision import FederationKits, make_federation
from federant.testing.network import Network, why_not

REASON = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(REASON), reason=REASON)]

PORT = 8750
PATIENCE_SECONDS = 240.0
TRAINER = """
import os, pathlib, sys, time
import numpy as np
import federant

place = pathlib.Path(sys.argv[1])
with federant.join() as agent:
    for number, task in enumerate(agent.tasks(), 1):
        (place / f"{os.environ['FEDERANT_SITE']}-{number}").touch()
        while number == 2 and not (place / "go").exists():
            time.sleep(0.02)
        w = task.data.data.get("w", np.zeros(1, np.float32)) + np.float32(1)
        agent.submit_result(federant.DXO(federant.DataKind.WEIGHTS, data={"w": w}))
"""


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(["server", "site-1", "site-2", "operator"]) as network:
        yield network


@pytest.fixture
def kits(tmp_path: Path, network: Network) -> FederationKits:
    host = network.address("server")
    return make_federation(
        *(tmp_path / "kits",),
        host=host,
        port=PORT,
        hosts=[host],
        sites=["site-1", "site-2"],
        operators=["alice"],
    )


def site_file(folder: Path, kit: Kit) -> Path:
    script = folder / "trainer.py"
    script.write_text(TRAINER)
    file = folder / f"{kit.identity.name}.toml"
    file.write_text(
        f"kit = {json.dumps(str(kit.folder))}\n"
        f"folder = {json.dumps(kit.identity.name)}\n"
        "[trainers.adds]\n"
        f"command = {json.dumps([sys.executable, str(script), str(folder)])}\n"
    )
    return file


def wait_for(*places: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not all(place.exists() for place in places):
        assert time.monotonic() < deadline, [place.name for place in places if not place.exists()]
        time.sleep(0.02)


def test_a_job_ends_well_though_lines_are_cut_and_a_site_gets_another_address(
    tmp_path: Path, network: Network, kits: FederationKits
) -> None:
    federant = [sys.executable, "-m", "federant"]
    with ExitStack() as running:

        def start(host: str, *arguments: str) -> subprocess.Popen[str]:
            log = running.enter_context((tmp_path / f"{host}.log").open("w"))
            process = running.enter_context(
                subprocess.Popen(
                    network.command(host, *federant, *arguments),
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
            )
            running.callback(process.terminate)
            return process

        address = ["--host", network.address("server"), "--port", str(PORT)]
        server = start(
            *("server", "server", str(tmp_path / "data"), "--kit", str(kits.server.folder)),
            *address,
        )
        assert server.stdout is not None
        assert server.stdout.readline()
        for name, kit in kits.sites.items():
            start(name, "site", str(site_file(tmp_path, kit)))
        job = start(
            *("operator", "job", "run", "adds", "--kit", str(kits.operators["alice"].folder)),
            *("--site", "site-1", "--site", "site-2", "-p", "rounds=3", "-p", "min_sites=2"),
        )
        wait_for(tmp_path / "site-1-2", tmp_path / "site-2-2")
        network.cut("site-1")
        network.move("site-2", "10.77.0.22")
        (tmp_path / "go").touch()
        # Whatever is on its way meanwhile is lost; nothing else tells that it is long enough.
        time.sleep(2.0)
        network.mend("site-1")
        assert job.wait(PATIENCE_SECONDS) == 0, (tmp_path / "operator.log").read_text()
        assert (tmp_path / "site-1-3").exists()
        assert (tmp_path / "site-2-3").exists()
