"""What tests of whole federations share: jobs that sites of real processes do."""

import itertools
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from federant.demo.federation import TRAINER, LocalFederation
from federant.link.messages import JobState
from federant.link.operator import Job

SHARE_OF_THE_TIME = 0.8
"""How much of what a test may take its jobs may: one that is late shall be told with its logs."""

# Under nohup, or behind a shell's &, these are ignored, and so by every process that a test starts.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(
            _number, signal.default_int_handler if _number is signal.SIGINT else signal.SIG_DFL
        )

# The same examples on every machine, however long it takes for one of them: a test that fails now
# and then tells nothing of the change that it was run for.  ``--hypothesis-profile exploring``
# looks for new ones.
settings.register_profile(
    "steady",
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("exploring", settings.get_profile("steady"), derandomize=False)
settings.load_profile("steady")

FAR_SECONDS = 200.0
"""What a trainer may take that no site starts, unless its test says otherwise."""

Run = Callable[..., Job]
Trainers = Mapping[str, Sequence[str]]


@pytest.fixture
def federation_of(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Run]]:
    """Starts a federation: ``federation_of({"site-1": ["script.py", "--flag"]})``.

    Each site starts its script with this Python; ``settings`` are further lines of the trainer in
    its file. Gives a function that runs a job to its good end, also at its sites, with the
    keywords of ``submit``; ``seconds`` are what it may take, by default most of the test's time.
    """
    mark = request.node.get_closest_marker("timeout")
    test_seconds = float(mark.args[0] if mark else request.config.getini("timeout"))
    with ExitStack() as running:

        def start(trainers: Trainers, settings: str = "") -> Run:
            commands = {site: [sys.executable, *script] for site, script in trainers.items()}
            folder = tmp_path / "federation"
            federation = running.enter_context(LocalFederation(folder, commands, settings=settings))

            def run(seconds: float = SHARE_OF_THE_TIME * test_seconds, **options: Any) -> Job:
                sites = list(trainers)
                options = {"sites": sites, "min_sites": len(sites), **options}
                job = federation.client.submit(trainer=TRAINER, **options)
                deadline = time.monotonic() + seconds
                view = job.wait(seconds)
                said = "\n".join(f"== {log.name}\n{log.read_text()}" for log in federation.logs())
                assert view.state is JobState.FINISHED, f"{view.error}\n{said}"
                # What its trainers logged last may come after the last result.
                while not all(site.state.gone for site in job.view().sites):
                    assert time.monotonic() < deadline, said
                    time.sleep(0.02)
                return job

            return run

        yield start


def _ports() -> Iterator[int]:
    """None twice, and none of a neighbour's: each of the processes that run tests has a range."""
    neighbour = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    first = random.SystemRandom().randrange(1000)
    return (20_000 + 1000 * neighbour + (first + at) % 1000 for at in itertools.count())


_candidates = _ports()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _port() -> int:
    """One that the system gives to nobody who does not ask for it by number."""
    return next(port for port in _candidates if _is_free(port))


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """``free_port()`` for who must know the number before it listens, as a relay whose kits do."""
    return _port


@pytest.fixture(scope="module")
def run_from_afar(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Run]:
    """Runs a job whose trainers no site starts: they dial site-1's and site-2's relays.

    ``run_from_afar({"site-1": ["script.py"], ...}, rounds=2)``, with the keywords of ``submit``:
    each script is started with this Python and its agent's kit in the environment, ``times`` one
    after the other, and must end well each time, in ``seconds``.
    """
    relays = {"site-1": free_port(), "site-2": free_port()}
    folder = tmp_path_factory.mktemp("from-afar")
    with LocalFederation(folder, relays=relays) as federation:

        def train(site: str, script: Sequence[str], times: int, seconds: float) -> None:
            environment = {
                name: value for name, value in os.environ.items() if name[:9] != "FEDERANT_"
            }
            environment |= {"FEDERANT_KIT": str(federation.agent_kits[site])}
            environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            for _ in range(times):
                done = subprocess.run(
                    [sys.executable, *script],
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=seconds,
                    check=False,
                )
                assert done.returncode == 0, f"{site}: {done.stdout}\n{done.stderr}"

        def run(
            trainers: Trainers, times: int = 1, seconds: float = FAR_SECONDS, **options: Any
        ) -> Job:
            options = {"sites": list(trainers), "min_sites": len(trainers), **options}
            job = federation.client.submit(trainer=TRAINER, **options)
            with ThreadPoolExecutor(len(trainers)) as threads:
                ends = [threads.submit(train, *each, times, seconds) for each in trainers.items()]
            for end in ends:
                end.result()
            view = job.wait(seconds)
            # What its trainers logged last may come after the last result.
            deadline = time.monotonic() + seconds
            while not all(site.state.gone for site in job.view().sites):
                assert time.monotonic() < deadline, job.view()
                time.sleep(0.02)
            said = "\n".join(f"== {log.name}\n{log.read_text()}" for log in federation.logs())
            assert view.state is JobState.FINISHED, f"{view.error}\n{said}"
            return job

        yield run


@pytest.fixture
def federated(federation_of: Callable[..., Run]) -> Callable[..., Job]:
    """Runs one job to its end: ``federated({"site-1": ["script.py", "--flag"]}, rounds=3)``."""
    return lambda trainers, **options: federation_of(trainers)(**options)


def _example(module: Any) -> Path:
    return Path(__file__).parents[1] / "examples" / str(module.EXAMPLE)


@pytest.fixture(scope="module")
def example(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What is defined in the file of `examples` that the test's module names as EXAMPLE."""
    return runpy.run_path(str(_example(request.module)), run_name="example")


@pytest.fixture
def federated_digits(
    request: pytest.FixtureRequest, federated: Callable[..., Job]
) -> Callable[..., Job]:
    """Runs that example at sites that have some of the digits each, from site-1 on.

    ``federated_digits("01234", "56789", rounds=5)``, with the keywords of ``federated``.
    """
    script = str(_example(request.module))

    def run(*shares: str, **options: Any) -> Job:
        sites = {f"site-{at}": [script, "--digits", has] for at, has in enumerate(shares, 1)}
        return federated(sites, **options)

    return run


@pytest.fixture
def changed_script(tmp_path: Path) -> Callable[[Path], str]:
    """Makes a copy of a script in which the imports of nvflare.client name federant.client.

    Nothing else in it is touched, and nothing else in it may import nvflare.
    """

    def change(script: Path) -> str:
        lines = script.read_text(encoding="utf-8").splitlines(keepends=True)
        changed = [
            line.replace("nvflare.client", "federant.client", 1)
            if line.startswith(("import nvflare.client", "from nvflare.client"))
            else line
            for line in lines
        ]
        assert changed != lines, f"{script} does not import nvflare.client"
        assert not any(
            line.lstrip().startswith(("import nvflare", "from nvflare")) for line in changed
        )
        copy = tmp_path / script.name
        copy.write_text("".join(changed), encoding="utf-8")
        return str(copy)

    return change
