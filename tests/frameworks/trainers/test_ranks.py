"""Patched trainers of two processes at real sites.

Lightning's DDP starts the second one by itself, in the first validate or fit; Hugging Face's
Trainer is started by torchrun or by accelerate.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from federant.link.operator import Job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIGHTNING = Path(__file__).with_name("lightning_ranks.py")
HUGGINGFACE = Path(__file__).with_name("huggingface_ranks.py")


@pytest.fixture(scope="module")
def job(job_of: Any) -> Job:
    """A job of two rounds with one site that does well and one where rank 1 crashes."""
    fates = {"site-1": "well", "site-2": "crash"}
    found: Job = job_of({site: [sys.executable, str(LIGHTNING), fates[site]] for site in fates})
    return found


def test_all_processes_train_the_model_that_one_received(job: Job):
    # Of eight rows each process has four: four steps a round.
    assert job.model().data["weight"].tolist() == [8.0]


def test_a_crash_of_the_second_process_is_told_with_its_traceback(job: Job, failure_of: Any):
    text = failure_of(job, "site-2")
    assert "rank 1, process " in text
    assert "ArithmeticError: no luck in rank 1" in text


@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_hugging_faces_processes_train_the_model_that_one_received(
    job_of: Any, accelerate_two: list[str], tmp_path: Path, launcher: str
):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", "2"]
    command = [*(torchrun if launcher == "torchrun" else accelerate_two), str(HUGGINGFACE)]
    job = job_of({"site-1": command}, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    # Of eight rows each process has four: four steps a round.
    assert job.model().data["weight"].tolist() == [8.0]
