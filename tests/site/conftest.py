"""A real server and real site daemons, each a process, and an operator who watches them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

from federant.link.operator import Job, connect
from federant.link.operator_messages import JobView
from federant.provision import FederationKits, make_federation

TRAINER = Path(__file__).with_name("trainer.py")
PATIENCE_SECONDS = 120.0


def has_ended(process: psutil.Process) -> bool:
    """Also of one that nobody has waited for yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until(what: str, look: Callable[[], object]) -> None:
    """Wait for what another process does; fails with `what` if it never comes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)


@dataclass
class Site:
    """One site: its file, its daemon, and the box in which its trainer leaves word."""

    name: str
    folder: Path
    url: str
    step: float
    options: tuple[str, ...] = ()
    settings: str = ""
    patience: float = 120.0
    """Seconds that its trainer waits for a lost client job."""
    grace: float = 30.0
    """Seconds that its trainer has to end once the job has; one that is held takes them all."""
    daemon: subprocess.Popen[bytes] | None = None
    kit: Path | None = None
    """Without it there is no TLS."""

    @property
    def box(self) -> Path:
        return self.folder / "box"

    def write(self) -> None:
        self.box.mkdir(parents=True, exist_ok=True)
        arguments = ["{python}", str(TRAINER), str(self.box), str(self.step), *self.options]
        command = "" if "external" in self.settings else f"command = {arguments!r}\n"
        self.file.write_text(
            f'name = "{self.name}"\nserver = "{self.url}"\nfolder = "work"\n'
            + (f'kit = "{self.kit}"\n' if self.kit else "")
            + f"[trainers.half]\n{command}heartbeat_timeout_seconds = {self.patience}\n"
            f"grace_seconds = {self.grace}\n{self.settings}\n"
        )

    @property
    def file(self) -> Path:
        return self.folder / "site.toml"

    def start(self) -> None:
        code = (
            "import logging, pathlib, sys; from federant.site import load_config, run_site;"
            "logging.basicConfig(level='INFO');"
            "sys.exit(run_site(load_config(pathlib.Path(sys.argv[1]))))"
        )
        with (self.folder / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [sys.executable, "-c", code, str(self.file)], stdout=log, stderr=log
            )

    def stop(self) -> int:
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGTERM)
        return self.daemon.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait(PATIENCE_SECONDS)

    def start_external(self, *options: str, by: str = "file") -> subprocess.Popen[bytes]:
        """The trainer, started by hand with the job's join file, or the folder that holds it."""
        command = [sys.executable, str(TRAINER), str(self.box), str(self.step), *options]
        named = self.job_folder() / ("join.toml" if by == "file" else "")
        environment = {**os.environ, "FEDERANT_JOIN": str(named)}
        return subprocess.Popen(command, env=environment)

    def start_from_afar(self, kit: Path) -> subprocess.Popen[bytes]:
        """The trainer, started by somebody who has nothing but an agent's kit."""
        command = [sys.executable, str(TRAINER), str(self.box), str(self.step)]
        return subprocess.Popen(command, env={**os.environ, "FEDERANT_KIT": str(kit)})

    # -- what the trainer and the client job leave behind ------------------------------------------

    def hold(self, number: int) -> None:
        (self.box / f"hold-{number}").touch()

    def let_go(self, number: int) -> None:
        (self.box / f"hold-{number}").unlink()

    def trainer(self, number: int) -> psutil.Process:
        """The process that has the task of round `number`, once it has it; it must still live."""
        return psutil.Process(self.trainer_pid(number))

    def trainer_pid(self, number: int) -> int:
        """The id of the process that had the task of round `number`, which may be over."""
        mark = self.box / f"round-{number}"
        until(f"round {number} at {self.name}", mark.exists)
        return int(mark.read_text())

    def job_folder(self) -> Path:
        (folder,) = (self.folder / "work" / "jobs").iterdir()
        return folder

    def client_job(self) -> psutil.Process:
        alive = self.job_folder() / "alive"
        until(f"the client job of {self.name}", alive.read_text)  # empty while it is being started
        return psutil.Process(int(alive.read_text()))

    def processes(self) -> list[psutil.Process]:
        """Every process that has to do with this site."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(str(self.folder) in part for part in process.cmdline()):
                    found.append(process)
        return found


@dataclass
class Server:
    """A real server, the sites that know it, and its operator."""

    folder: Path
    sites: list[Site] = field(default_factory=list)
    kits: FederationKits | None = None
    """Without them there is no TLS."""
    relay: bool = False
    """Whether cells meet there."""

    def start(self) -> None:
        code = (
            "import pathlib, sys; from federant.server.daemon import run_server;"
            "from federant.server.config import RelaySettings;"
            "from federant.link.kit import load_kit;"
            "relay = RelaySettings() if sys.argv[1] else None;"
            "folder, *kit = map(pathlib.Path, sys.argv[2:]);"
            "run_server(folder, kit=load_kit(kit[0]) if kit else None, relay=relay)"
        )
        kit = [str(self.kits.server.folder)] if self.kits else []
        relay = "relay" if self.relay else ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, relay, str(self.folder / "server"), *kit],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        self.process.stdout.close()
        self.url = line.split()[-1]
        self.operator = connect(
            self.url, kit=self.kits.operators["alice"].folder if self.kits else None
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        self.operator.close()

    def close(self) -> None:
        for site in self.sites:
            if site.daemon is not None and site.daemon.poll() is None:
                site.stop()
            for process in site.processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self.operator.close()
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)

    def site(self, settings: str = "", *options: str, step: float = 1.0, **more: float) -> Site:
        name = f"site-{len(self.sites) + 1}"
        folder = self.folder / name
        folder.mkdir()
        site = Site(name, folder, self.url, step, options, settings, **more)
        site.kit = self.kits.sites[name].folder if self.kits else None
        site.write()
        site.start()
        self.sites.append(site)
        return site

    def submit(self, trainer: str = "half", rounds: int = 2, **params: object) -> Job:
        names = [site.name for site in self.sites]
        params = {"rounds": rounds, "min_sites": len(names), **params}
        return self.operator.submit(trainer=trainer, sites=names, params=params)

    def finish(self, job: Job) -> JobView:
        return job.wait(PATIENCE_SECONDS)

    def expected(self, rounds: int) -> float:
        """What every element of the model is after so many rounds in which all sites took part."""
        value = 0.0
        for _ in range(rounds):
            value = sum(value / 2 + site.step for site in self.sites) / len(self.sites)
        return value

    def model(self, job: Job) -> float:
        """What every element of the job's newest model is."""
        weights = job.model().data["w"]
        assert np.all(weights == weights[0])
        return float(weights[0])

    def statuses(self, job: Job) -> dict[str, str]:
        """The last text of each state that the sites told of."""
        return {event.tag: event.text for event in job.events().events if event.kind == "STATUS"}

    def told(self, job: Job, state: str) -> str:
        """The last text of that state, once there is one: such news are on a way of their own."""
        until(f"news that it is {state}", lambda: state in self.statuses(job))
        return self.statuses(job)[state]


@pytest.fixture(name="until")
def until_fixture() -> Callable[[str, Callable[[], object]], None]:
    return until


@pytest.fixture
def until_ended() -> Callable[[psutil.Process], None]:
    return lambda process: until(f"the end of {process}", lambda: has_ended(process))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.close()


@pytest.fixture
def server_of(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """`server_of(kits)`: as `server`, by mutual TLS; with `relay=True` cells meet there."""
    with contextlib.ExitStack() as running:

        def start(kits: FederationKits, *, relay: bool = False) -> Server:
            made = Server(tmp_path, kits=kits, relay=relay)
            made.start()
            running.callback(made.close)
            return made

        yield start


@pytest.fixture
def site_kits(tmp_path: Path) -> FederationKits:
    """Of two sites, the first one's agent, and an operator."""
    return make_federation(
        tmp_path / "kits",
        host="localhost",
        sites=["site-1", "site-2"],
        operators=["alice"],
        agents=[("site-1", "gpu-7")],
    )


@pytest.fixture
def secure_server(server_of: Callable[..., Server], site_kits: FederationKits) -> Server:
    """As `server`, by mutual TLS, for up to two sites."""
    return server_of(site_kits)


@pytest.fixture
def relaying_server(server_of: Callable[..., Server], site_kits: FederationKits) -> Server:
    """As `secure_server`, and cells meet there."""
    return server_of(site_kits, relay=True)


@pytest.fixture
def relay_port(free_port: Callable[[], int]) -> int:
    """Where a site's relay listens."""
    return free_port()
