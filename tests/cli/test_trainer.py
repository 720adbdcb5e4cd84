"""`federant trainer check`, as a person runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

SCRIPTS = Path(__file__).parents[1] / "trial" / "scripts.py"
PATIENCE_SECONDS = 60.0


def check(folder: Path, *options: str, way: str = "good") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "federant", "trainer", "check", *options),
            *("--", sys.executable, str(SCRIPTS), way),
        ],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_good_script_is_shown_round_by_round_and_nothing_is_left(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "all is well" in done.stdout
    for words in ("layer.w  [3, 4]  float32", "loss  2 times, last 0.5", "exit status 0"):
        assert words in done.stdout
    assert "task train of round 2: OK, WEIGHTS after" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bad_script_fails_with_what_is_wrong(tmp_path: Path) -> None:
    done = check(tmp_path, way="nan")
    assert done.returncode == 1
    assert "wrong task train of round 1: the server would refuse the result" in done.stdout
    assert "RESULT_NOT_FINITE: 'layer.b' holds nan" in done.stdout
    assert "all is well" not in done.stdout


def test_a_script_that_dies_is_shown_with_its_traceback_once(tmp_path: Path) -> None:
    done = check(tmp_path, way="bad_import")
    assert done.returncode == 1
    assert done.stdout.count("ModuleNotFoundError: No module named 'no_such_package'") == 1
    assert "federant-trial-" not in done.stdout


def test_programs_get_json(tmp_path: Path) -> None:
    model = tmp_path / "start.safetensors"
    save_file({"layer.w": np.ones((3, 4), np.float32), "layer.b": np.ones(4, np.float32)}, model)
    done = check(
        tmp_path,
        *("--json", "--model", str(model), "--rounds", "1"),
        *("--task", "train", "--task", "validate"),
        way="flare_good",
    )
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert (report["ok"], report["problems"], report["clean"]) == (True, [], True)
    train, validate = report["tasks"]
    assert (train["name"], train["carried_model"], train["weight"]) == ("train", True, 12.0)
    assert train["tensors"][-1] == {"name": "layer.w", "shape": [3, 4], "dtype": "float32"}
    assert validate["values"] == {"accuracy": 0.5}


def no_constant(name: str) -> None:
    pytest.fail(f"{name} is no JSON")


def test_numbers_that_json_lacks_are_told_to_programs_as_text(tmp_path: Path) -> None:
    done = check(tmp_path, "--json", way="logs_nan")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout, parse_constant=no_constant)
    assert [(metric["tag"], metric["last"]) for metric in report["metrics"]] == [("loss", "NaN")]
    assert [task["values"] for task in report["tasks"]] == [{"f1": "-Infinity"}] * 2


def test_a_result_that_a_server_would_refuse_is_not_said_to_be_ok(tmp_path: Path) -> None:
    done = check(tmp_path, "--rounds", "1", way="nan")
    assert done.stderr.startswith(
        "task train of round 1: the server would refuse it with RESULT_NOT_FINITE after "
    )
    assert len(done.stderr.splitlines()) == 1
    row = done.stdout.splitlines()[1].split()
    assert row[:3] == ["1", "train", "RESULT_NOT_FINITE"]


def test_a_traceback_is_told_once_and_whole(tmp_path: Path) -> None:
    done = check(tmp_path, way="crashes")
    assert done.returncode == 1
    assert "EXECUTION_EXCEPTION:\nTraceback (most recent call last):\n" in done.stdout
    assert done.stdout.count("Traceback") == done.stdout.count("ZeroDivisionError") == 1
    assert "the last lines that it printed" not in done.stdout  # they are the traceback
    assert "\n\n" not in done.stdout


@pytest.mark.parametrize("way", ["never_joins", "holds"])
def test_a_script_without_a_result_is_told_of_the_checks_own_limit(
    tmp_path: Path, way: str
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "federant", "trainer", "check", "--timeout", "1"),
            *("--", sys.executable, str(SCRIPTS), way, str(tmp_path / "mark")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "aise --timeout\n" in done.stdout
    assert "site's file" not in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--", "no-such-program"], "there is no program 'no-such-program'"),
        (["--model", "none.safetensors", "--", "true"], "none.safetensors"),
    ],
)
def test_what_cannot_be_used_is_a_usage_error(
    tmp_path: Path, options: list[str], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "federant", "trainer", "check", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_the_script_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    mark = tmp_path / "mark"
    place = tmp_path / "place"
    place.mkdir()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "federant", "trainer", "check", "--"),
            *(sys.executable, str(SCRIPTS), "holds", str(mark)),
        ],
        env={**os.environ, "TMPDIR": str(place)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not mark.exists():
        assert time.monotonic() < deadline, "the script did not get its task"
        time.sleep(0.01)
    script = psutil.Process(int(mark.read_text()))
    process.send_signal(number)
    assert process.wait(PATIENCE_SECONDS) == status
    assert not script.is_running()
    assert list(place.iterdir()) == []
