"""Whole federations of real processes: they learn, and they leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import safetensors.numpy

from federant.demo import FederationError, LocalFederation

pytestmark = pytest.mark.slow

MARK = "FEDERANT_DEMO_TEST"
ENDLESS = ("--sites", "2", "--rounds", "1000")
"""As few processes as a demo may have: they are ended, not looked at."""
TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that its loss is a SIGHUP
from federant.cli import main
main()
"""
TRAINER = """
import numpy as np
import federant
with federant.join() as agent:
    for task in agent.tasks():
        agent.submit_result(federant.DXO("WEIGHTS", data={"w": np.ones(1, np.float32)}))
"""


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def demo(out: Path, temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "federant.cli", "demo", "--out", str(out), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), MARK: str(out)},
        start_new_session=True,
    )


def wait_for_line(process: subprocess.Popen[str], beginning: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(beginning):
            return
    pytest.fail(f"the demo ended without a line that begins with {beginning!r}")


def living(out: Path) -> Iterator[psutil.Process]:
    """All processes that come from this demo, however far away they have gone."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(out):
                yield process
        except psutil.Error:
            continue


def wait_for_none(out: Path, seconds: float) -> list[psutil.Process]:
    _, left = psutil.wait_procs(list(living(out)), timeout=seconds)
    return [*left, *living(out)]


@pytest.mark.parametrize("seed", range(5))
def test_federated_comes_near_pooled_and_above_every_lone_site(
    tmp_path: Path, temporary: Path, seed: int
) -> None:
    out = tmp_path / "out"
    with demo(out, temporary, "--seed", str(seed)) as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    facts = json.loads((out / "report.json").read_text())
    assert facts["pooled"] - facts["federated"] <= 0.02
    assert facts["federated"] > max(facts["alone"].values())
    assert len(facts["rounds"]) == 10
    assert "round 10/10" in said
    assert "within two points of pooled" in said
    assert set(safetensors.numpy.load_file(out / "model.safetensors")) == {"weights", "bias"}
    assert (out / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert all(log.stat().st_size for log in (out / "logs").iterdir())
    assert {log.name for log in (out / "logs").iterdir()} >= {"server.log", "site-1.log"}
    assert wait_for_none(out, 0) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "One server"),
        (signal.SIGINT, "starting the server"),
        (signal.SIGINT, "site-1 "),  # its first state, whichever is seen: a short one may be missed
        (signal.SIGINT, "round 2/"),
        (signal.SIGTERM, "round 2/"),
        (signal.SIGHUP, "round 2/"),
    ],
)
def test_an_interrupt_ends_everything_and_leaves_nothing(
    tmp_path: Path, temporary: Path, number: signal.Signals, moment: str
) -> None:
    out = tmp_path / "out"
    with demo(out, temporary, *ENDLESS) as process:
        wait_for_line(process, moment)
        process.send_signal(number)
        said, _ = process.communicate()
    assert process.returncode == 128 + number, said
    assert "every process has ended and nothing is left behind" in said
    assert "Traceback" not in said
    assert wait_for_none(out, 0) == []
    assert list(temporary.iterdir()) == []
    assert not out.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupts_while_it_tidies_up_leave_nothing_either(
    tmp_path: Path, temporary: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    with demo(out, temporary, *ENDLESS) as process:
        wait_for_line(process, "round 1/")
        while process.poll() is None:
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
    assert process.returncode in (128 + number, -number)
    assert wait_for_none(out, 0) == []
    assert list(temporary.iterdir()) == []


def test_an_interrupt_at_the_end_leaves_all_results_or_none(
    tmp_path: Path, temporary: Path
) -> None:
    out = tmp_path / "out"
    with demo(out, temporary) as process:
        wait_for_line(process, "ending all processes")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate()
    assert wait_for_none(out, 0) == []
    assert list(temporary.iterdir()) == []
    kept = {path.name for path in out.iterdir()} if out.exists() else set()
    complete = {"accuracy.png", "logs", "model.safetensors", "report.json"}
    assert kept == (set() if "nothing is left behind" in said else complete)


def test_the_loss_of_the_terminal_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    out = tmp_path / "out"
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL, "demo", "--out", str(out), *ENDLESS],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TMPDIR": str(temporary), "TERM": "dumb", MARK: str(out)},
        start_new_session=True,
    )
    os.close(theirs)
    said = b""
    while b"round 1/" not in said:
        said += os.read(ours, 4096)
    os.close(ours)
    process.wait(120)
    assert wait_for_none(out, 0) == []
    assert list(temporary.iterdir()) == []


def test_results_that_could_not_be_written_are_told_at_once(
    tmp_path: Path, temporary: Path
) -> None:
    out = tmp_path / "out"
    out.write_text("a file")
    with demo(out, temporary) as process:
        said, _ = process.communicate()
    assert process.returncode == 1
    assert f"error the results cannot be written to {out}: " in said
    assert "choose another folder with --out" in said
    assert "server" not in said
    assert out.read_text() == "a file"


def test_logs_of_an_earlier_demo_go_and_other_files_stay(tmp_path: Path, temporary: Path) -> None:
    logs = tmp_path / "out" / "logs"
    logs.mkdir(parents=True)
    for name in ("site-8.log", "site-8-jobs-j1-trainer.log", "mine.log", "site-plan.log"):
        (logs / name).write_text("old")
    with demo(logs.parent, temporary, "--rounds", "1") as process:
        said, _ = process.communicate()
    assert "federated, 1 round " in said
    names = {path.name for path in logs.iterdir()}
    assert {"mine.log", "site-plan.log", "site-1.log", "site-1-client_job.log"} <= names
    assert not {"site-8.log", "site-8-jobs-j1-trainer.log"} & names


def test_a_demo_that_is_killed_takes_its_processes_with_it(tmp_path: Path, temporary: Path) -> None:
    out = tmp_path / "out"
    with demo(out, temporary, *ENDLESS) as process:
        wait_for_line(process, "round 1/")
        process.kill()
    assert wait_for_none(out, 60) == []


def test_a_trainer_that_fails_fails_the_job_with_its_last_words(tmp_path: Path) -> None:
    code = "raise RuntimeError('no disk of that name')"
    with LocalFederation(tmp_path / "f", {"site-1": [sys.executable, "-c", code]}) as federation:
        job = federation.client.submit(trainer="trainer", sites=["site-1"], rounds=2, min_sites=1)
        view = job.wait(timeout=120)
    assert view.state == "failed"
    assert "no disk of that name" in view.error + "".join(site.text for site in view.sites)


def test_a_server_that_cannot_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "server").write_text("a file where a folder is needed")
    federation = LocalFederation(folder, {})
    with pytest.raises(FederationError, match="server ended with status 1"):
        federation.start()
    federation.stop()


def test_a_federation_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    federation = LocalFederation(tmp_path / "f", {"site-1": [sys.executable, "-c", TRAINER]})
    starter = threading.Thread(target=federation.start)
    starter.start()
    starter.join()
    try:
        job = federation.client.submit(trainer="trainer", sites=["site-1"], rounds=2, min_sites=1)
        assert job.wait(timeout=120).state == "finished"
        federation.check()
    finally:
        federation.stop()
