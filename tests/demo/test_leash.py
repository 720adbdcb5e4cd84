"""The leash: what it runs does not outlive its owner, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import federant.demo

LEASH = Path(federant.demo.__file__).with_name("leash.py")
OWNER = """
import os, subprocess, sys
reading, writing = os.pipe()
command = [sys.executable, "-P", sys.argv[1], str(reading), "program"]
child = subprocess.Popen(
    command, stdout=subprocess.PIPE, pass_fds=[reading], start_new_session=True
)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which the programs under the leash import."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def leashed(end: int, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", str(LEASH), str(end), "program", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[end],
    )


def test_a_program_ends_when_its_owner_is_killed(modules: Path) -> None:
    (modules / "program.py").write_text("import time; print(1, flush=True); time.sleep(600)")
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(LEASH)], stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        child = psutil.Process(int(owner.stdout.readline()))
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    psutil.wait_procs([child], timeout=60)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_program_whose_owner_is_gone_already_ends_too(modules: Path) -> None:
    (modules / "program.py").write_text("import time; time.sleep(600)")
    reading, writing = os.pipe()
    os.close(writing)
    with leashed(reading) as process:
        assert process.wait(timeout=60) == -signal.SIGTERM
    os.close(reading)


def test_the_program_gets_its_arguments_and_its_status_is_the_leashs(modules: Path) -> None:
    (modules / "program.py").write_text("import sys; print(sys.argv[1:]); sys.exit(7)")
    reading, writing = os.pipe()
    with leashed(reading, "a b") as process:
        said, _ = process.communicate(timeout=60)
    os.close(reading)
    os.close(writing)
    assert (process.returncode, said) == (7, "['a b']\n")
