"""Federations of hosts of their own, in network namespaces, by mutual TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from federant.provision import FederationKits, make_federation
from federant.testing.network import Network

PORT = 8750
RELAY_PORT = 8760
PATIENCE_SECONDS = 240.0
SIZE = 1000
TRAINER = Path(__file__).with_name("trainer.py")


class Hosts:
    """Starts what runs on the hosts of a network: server, sites, jobs, trainers that dial."""

    FAR = f"""
[relay]
host = "0.0.0.0"
port = {RELAY_PORT}

[trainers.far]
start = "external"
pipe = "cell"
agent_id = "gpu-7"
"""
    """Lines of a site's file: a trainer on the node, by the site's relay."""
    FAR_BY_SERVER = """
[trainers.far]
start = "external"
pipe = "cell"
agent_id = "gpu-7"
relay = "server"
"""
    """The same by the server's relay, which ``start_server("[relay]")`` switches on."""

    def __init__(
        self, folder: Path, network: Network, kits: FederationKits, running: ExitStack
    ) -> None:
        self.folder = folder
        self.network = network
        self.kits = kits
        self._running = running
        self._sites: list[str] = []

    def start(self, host: str, *command: str, log: str = "") -> subprocess.Popen[str]:
        """Runs on a host until the test ends; its complaints go to the file ``LOG.log``."""
        file = self._running.enter_context((self.folder / f"{log or host}.log").open("a"))
        process = self._running.enter_context(
            subprocess.Popen(
                self.network.command(host, sys.executable, *command),
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                # What a killed process leaves in its temporary folder goes with the test's.
                env={**os.environ, "TMPDIR": str(self.folder)},
            )
        )
        self._running.callback(process.terminate)
        return process

    def start_server(self, settings: str = "") -> None:
        """`settings` are further lines of its file."""
        file = self.kits.server.folder / "server.toml"
        file.write_text(f'folder = "data"\nport = {PORT}\n{settings}')
        server = self.start("server", "-m", "federant", "server", "--kit", str(file.parent))
        assert server.stdout is not None
        assert server.stdout.readline(), self.logs()

    def start_site(self, name: str, step: float, far: str = "", *, size: int = SIZE) -> None:
        """A site with the trainer ``near``, and with ``far``: the same, or else what `far` says.

        That is further lines of its file.
        """
        kit = self.kits.sites[name].folder
        file = self.folder / f"{name}.toml"
        command = [sys.executable, str(TRAINER), str(self.box(name)), str(step), str(size)]
        near = f"command = {json.dumps(command)}"
        file.write_text(
            f"kit = {json.dumps(str(kit))}\nfolder = {json.dumps(name)}\n"
            f"[trainers.near]\n{near}\n" + (far or f"[trainers.far]\n{near}\n")
        )
        self.start(name, "-m", "federant", "site", str(file))
        self._sites.append(name)

    def relay_of(self, host: str) -> str:
        """Where the node dials it: in the network that they have to themselves."""
        port = PORT if host == "server" else RELAY_PORT
        return f"https://{self.network.address(host, 1)}:{port}"

    def start_far_trainer(self, relay: str, step: float, *, size: int = SIZE) -> None:
        """The one of site-1 that dials that relay from the node."""
        kit = str(self.kits.agents["site-1.gpu-7"].folder)
        self.start("node", str(TRAINER), str(self.box("node")), str(step), str(size), relay, kit)

    def box(self, name: str) -> Path:
        """Where a site's trainer leaves word, and looks whether it may go on."""
        box = self.folder / f"box-{name}"
        box.mkdir(exist_ok=True)
        return box

    def start_job(self, trainer: str, **params: object) -> subprocess.Popen[str]:
        """At all sites that were started, from the host of the operator."""
        sites = [word for site in self._sites for word in ("--site", site)]
        params = {"min_sites": len(self._sites), **params}
        given = [word for key, value in params.items() for word in ("-p", f"{key}={value}")]
        kit = str(self.kits.operators["alice"].folder)
        return self.start(
            *("operator", "-m", "federant", "job", "run", trainer, "--kit", kit, *sites, *given)
        )

    def model_of(self, job: subprocess.Popen[str]) -> np.ndarray:
        """What w is in the model of a job, which must end well."""
        said, _ = job.communicate(timeout=PATIENCE_SECONDS)
        assert job.returncode == 0, self.logs()
        file = self.folder / "model.safetensors"
        kit = str(self.kits.operators["alice"].folder)
        self.network.run(
            "operator",
            *(sys.executable, "-m", "federant", "job", "model", said.split()[0], str(file)),
            *("--kit", kit),
        )
        return load_file(file)["w"]

    def wait_for(self, what: str, look: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not look():
            assert time.monotonic() < deadline, f"{what} did not come\n{self.logs()}"
            time.sleep(0.02)

    def logs(self) -> str:
        """What everybody has said, for who finds that something went wrong."""
        return "\n".join(
            f"== {log.relative_to(self.folder)}\n{log.read_text()[-4000:]}"
            for log in sorted(
                # walk, because a glob fails where a folder is taken away while it looks.
                Path(at) / name
                for at, _, names in os.walk(self.folder)
                for name in names
                if name.endswith(".log")
            )
        )


@pytest.fixture
def hosts_of(tmp_path: Path) -> Iterator[Callable[..., Hosts]]:
    """``hosts_of(hosts, ...)``: those of such a network, with kits, until the test ends.

    ``server``, ``site-1``, ``site-2`` and ``operator`` must be in the first list. A site needs no
    more than that; on the host ``node`` may be agent gpu-7 of site-1.
    """
    with ExitStack() as running:

        def make(*networks: list[str]) -> Hosts:
            network = running.enter_context(Network(*networks))
            host = network.address("server")
            kits = make_federation(
                *(tmp_path / "kits",),
                host=host,
                port=PORT,
                hosts=[host],
                sites=["site-1", "site-2"],
                operators=["alice"],
                agents=[("site-1", "gpu-7")],
            )
            return Hosts(tmp_path, network, kits, running)

        yield make
