"""A plain loop with an Accelerator in two processes, started by accelerate at real sites."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from federant.link.operator import Job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).with_name("accelerate_ranks.py")


@pytest.fixture(scope="module")
def job(job_of: Any, accelerate_two: list[str], tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job of two rounds with one site that does well and one where rank 1 crashes."""
    fates = {"site-1": "well", "site-2": "crash"}
    nothing_configured = str(tmp_path_factory.mktemp("hf"))
    trainers = {site: [*accelerate_two, str(SCRIPT), fate] for site, fate in fates.items()}
    found: Job = job_of(trainers, HF_HOME=nothing_configured)
    return found


def test_both_processes_train_the_model_that_one_received(job: Job):
    # A step takes a row of each process and adds the mean: half of 0 + 1 + ... + 7 a round.
    assert job.model().data["weight"].tolist() == [[28.0]]


def test_a_crash_of_the_second_process_is_told_with_its_traceback_before_what_the_launcher_says(
    job: Job, failure_of: Any
):
    said, launcher, _ = failure_of(job, "site-2").partition("Root Cause (first observed failure)")
    assert launcher
    assert "rank 1, process " in said
    assert 'raise ArithmeticError("no luck in rank 1")' in said
    assert "ArithmeticError: no luck in rank 1" in said


def test_with_cpu_it_starts_one_process_which_is_a_trainer_by_itself(job_of: Any):
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    options = ["--cpu", "--num_processes", "2", "--num_machines", "1"]
    job = job_of({"site-1": [*launch, *options, str(SCRIPT), "well"]})
    # Each row is a step: 0 + 1 + ... + 7 a round.
    assert job.model().data["weight"].tolist() == [[56.0]]
