"""A trainer under its keeper: real processes, started, watched, ended and found again."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from federant.site import launcher
from federant.site.errors import LaunchError
from federant.site.launcher import Launch, LaunchSpec

Start = Callable[..., Launch]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Launch] = []

    def start_code(code: str, **options: object) -> Launch:
        spec = LaunchSpec(
            command=[sys.executable, "-S", "-c", code, str(tmp_path)],
            cwd=tmp_path,
            env={"COLOUR": "blue"},
            log=tmp_path / "trainer.log",
            **options,  # type: ignore[arg-type]
        )
        launch = launcher.start(tmp_path / "launches", spec)
        started.append(launch)
        return launch

    yield start_code
    for launch in started:
        launch.stop(0.2)


def wait_for_text(path: Path, *, words: int = 1) -> list[str]:
    """The words of a file that another process writes, once there are enough of them."""
    for _ in range(6000):
        if path.exists() and len(found := path.read_text().split()) >= words:
            return found
        threading.Event().wait(0.01)
    raise AssertionError(f"{path} did not come")


def test_a_trainer_gets_its_environment_its_folder_and_no_input(start: Start, tmp_path: Path):
    launch = start(
        "import os, sys; print(os.environ['COLOUR'], os.environ['FEDERANT_LAUNCH'],"
        " os.getcwd(), repr(sys.stdin.read()))"
    )
    assert launch.wait(60) == launcher.Exit(status=0)
    assert launch.last_lines() == f"blue {launch.id} {tmp_path} ''"


def test_exit_status_and_last_lines_of_both_streams_are_kept(start: Start):
    launch = start(
        "import sys; print('step 1', flush=True); print('out of memory', file=sys.stderr);"
        " sys.exit(3)"
    )
    outcome = launch.wait(60)
    assert outcome is not None
    assert str(outcome) == "exit status 3"
    assert not outcome.clean
    assert launch.last_lines() == "step 1\nout of memory"


def test_death_by_signal_is_told_by_name(start: Start):
    launch = start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert str(launch.wait(60)) == "killed by signal 9 (SIGKILL)"


def test_the_end_of_a_trainer_is_called_back_once_also_if_asked_for_late(start: Start):
    launch = start("pass")
    seen: list[Launch] = []
    called = threading.Event()
    launch.on_exit(lambda ended: (seen.append(ended), called.set()))
    assert called.wait(60)
    launch.on_exit(seen.append)
    assert seen == [launch, launch]


def test_a_long_log_is_rotated_and_old_parts_are_dropped(start: Start, tmp_path: Path):
    launch = start(
        "import sys; sys.stdout.write(''.join(f'line {n} {\"x\" * 40}\\n' for n in range(4000)))",
        log_bytes=50_000,
        log_files=2,
    )
    assert launch.wait(60) == launcher.Exit(status=0)
    logs = sorted(path.name for path in tmp_path.glob("trainer.log*"))
    assert logs == ["trainer.log", "trainer.log.1", "trainer.log.2"]
    assert all(path.stat().st_size <= 50_000 for path in tmp_path.glob("trainer.log*"))
    assert launch.last_lines(1).startswith("line 3999")


def test_stop_lets_a_trainer_that_heeds_sigterm_end_by_itself(start: Start, tmp_path: Path):
    launch = start(
        "import signal, sys, time, pathlib\n"
        "def bye(*_): print('saved'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, bye)\n"
        "pathlib.Path(sys.argv[1], 'up').write_text('up')\n"
        "time.sleep(600)",
        grace_seconds=60.0,
    )
    wait_for_text(tmp_path / "up")
    launch.stop()
    assert launch.exit == launcher.Exit(status=0, asked=True)
    assert launch.last_lines() == "saved"


STUBBORN_FAMILY = """
import os, signal, subprocess, sys, time, pathlib
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleeper = [sys.executable, "-S", "-c",
           "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
child = subprocess.Popen(sleeper)
if (middle := os.fork()) == 0:
    # A daemon in the old style: another session, no parent, no trace of the launch in its tree.
    os.setsid()
    lost = subprocess.Popen(sleeper, env={})
    pathlib.Path(sys.argv[1], "lost").write_text(str(lost.pid))
    os._exit(0)
os.waitpid(middle, 0)
pathlib.Path(sys.argv[1], "pids").write_text(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


def family(tmp_path: Path) -> list[int]:
    lost = wait_for_text(tmp_path / "lost")
    return [int(pid) for pid in (*wait_for_text(tmp_path / "pids", words=2), *lost)]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid)]


def test_stop_kills_every_descendant_that_ignores_sigterm_or_left_its_session(
    start: Start, tmp_path: Path
):
    launch = start(STUBBORN_FAMILY)
    pids = family(tmp_path)
    assert alive(pids) == pids
    launch.stop(0.2)
    assert alive(pids) == []
    assert str(launch.exit) == "killed by signal 9 (SIGKILL)"


def test_what_a_dead_trainer_leaves_behind_is_ended_too(start: Start, tmp_path: Path):
    launch = start(STUBBORN_FAMILY, grace_seconds=0.1)
    pids = family(tmp_path)
    os.kill(pids[0], signal.SIGKILL)
    assert str(launch.wait(60)) == "killed by signal 9 (SIGKILL)"
    launch.stop(0.1)
    assert alive(pids) == []


def test_what_holds_the_token_is_for_the_owners_eyes_only(start: Start):
    launch = start("", token="secret")
    record = launch.folder / "launch.json"
    assert "secret" in record.read_text()
    assert record.stat().st_mode & 0o777 == 0o600


def test_a_later_client_job_finds_a_living_trainer_and_learns_how_it_ends(
    start: Start, tmp_path: Path
):
    start(
        "import sys, time, pathlib; pathlib.Path(sys.argv[1], 'up').write_text('up')\n"
        "while not pathlib.Path(sys.argv[1], 'go').exists(): time.sleep(0.01)\n"
        "sys.exit(7)"
    )
    wait_for_text(tmp_path / "up")
    found = launcher.find(tmp_path / "launches")
    assert found is not None
    assert found.adopted
    assert found.exit is None
    (tmp_path / "go").touch()
    assert str(found.wait(60)) == "exit status 7"


def test_a_found_trainer_can_be_stopped(start: Start, tmp_path: Path):
    start(STUBBORN_FAMILY)
    pids = family(tmp_path)
    found = launcher.find(tmp_path / "launches")
    assert found is not None
    found.stop(0.2)
    assert alive(pids) == []


def test_a_trainer_that_ended_while_no_client_job_was_there_is_known_with_its_exit(
    start: Start, tmp_path: Path
):
    start("import sys; sys.exit(5)").wait(60)
    found = launcher.find(tmp_path / "launches")
    assert found is not None
    assert str(found.wait(60)) == "exit status 5"


def test_nothing_is_found_where_nothing_was_started(tmp_path: Path):
    assert launcher.find(tmp_path / "launches") is None


def test_a_trainer_whose_keeper_was_killed_is_reported_and_ended(start: Start, tmp_path: Path):
    launch = start("import time; print('up', flush=True); time.sleep(600)")
    wait_for_text(tmp_path / "trainer.log")
    keeper = psutil.Process(int((launch.folder / "alive").read_text()))
    trainer = keeper.children()[0]
    keeper.kill()
    outcome = launch.wait(60)
    assert outcome is not None
    assert "keeper was killed" in str(outcome)
    launcher.end_all(tmp_path / "launches", 0.2)
    trainer.wait(60)
    assert not trainer.is_running()


def test_an_unknown_program_is_refused_with_its_name(tmp_path: Path):
    spec = LaunchSpec(["no-such-program"], tmp_path, {}, tmp_path / "log")
    with pytest.raises(LaunchError, match=r"no program 'no-such-program'.*correct command"):
        launcher.start(tmp_path / "launches", spec)


def test_an_absent_working_folder_is_refused_with_its_name(tmp_path: Path):
    spec = LaunchSpec([sys.executable], tmp_path / "gone", {}, tmp_path / "log")
    with pytest.raises(LaunchError, match=r"working folder .*gone is not there; correct cwd"):
        launcher.start(tmp_path / "launches", spec)
