"""Trainers of two processes at real sites: they do well, or one of their processes crashes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from federant.link.operator import Job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).with_name("many_processes.py")
FATES = {"site-1": "well", "site-2": "0", "site-3": "1-late"}


@pytest.fixture(scope="module")
def job(job_of: Any) -> Job:
    """A job of two rounds, from its second on only with the site that does well."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", str(SCRIPT)]
    found: Job = job_of({site: [*command, fate] for site, fate in FATES.items()})
    return found


def test_all_ranks_take_part_and_one_result_comes_of_it(job: Job):
    # Each round the ranks' totals are added: 1 + 2, then 3 + 1 + 3 + 2.
    assert job.model().data["total"].tolist() == [9.0]


@pytest.mark.parametrize(("site", "rank"), [("site-2", 0), ("site-3", 1)])
def test_the_crash_of_any_rank_is_told_with_its_traceback(
    job: Job, failure_of: Any, site: str, rank: int
):
    text = failure_of(job, site)
    assert f"rank {rank}, process " in text
    assert 'raise ArithmeticError(f"no luck in rank {rank}")' in text
    assert f"ArithmeticError: no luck in rank {rank}" in text


def test_what_the_ranks_say_stands_before_the_summary_of_their_launcher(job: Job, failure_of: Any):
    said, launcher, _ = failure_of(job, "site-3").partition("Root Cause (first observed failure)")
    assert launcher
    assert "ArithmeticError: no luck in rank 1" in said
