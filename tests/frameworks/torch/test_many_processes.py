"""Trainers of two processes at real sites: they do well, or one of their processes crashes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from federant.demo.federation import TRAINER, LocalFederation
from federant.link.messages import JobState
from federant.link.operator import Job

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("many_processes.py")
SECONDS = 240.0
FATES = {"site-1": "well", "site-2": "0", "site-3": "1-late"}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job of two rounds, from its second on only with the site that does well."""
    folder = tmp_path_factory.mktemp("federation")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", str(SCRIPT)]
    trainers = {site: [*command, fate] for site, fate in FATES.items()}
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("GLOO_SOCKET_IFNAME", "lo")
        running = stack.enter_context(LocalFederation(folder, trainers))
        job = running.client.submit(trainer=TRAINER, sites=list(FATES), rounds=2, min_sites=1)
        view = job.wait(SECONDS)
        said = "\n".join(f"== {log}\n{log.read_text()}" for log in running.logs())
        assert view.state is JobState.FINISHED, f"{view.error}\n{said}"
        yield job


def failure(job: Job, site: str) -> str:
    """What the operator is told of a site's first failed task."""
    events = [event for event in job.events().events if event.site == site]
    return next(event.text for event in events if event.tag == "result")


@pytest.mark.timeout(900)
def test_all_ranks_take_part_and_one_result_comes_of_it(job: Job):
    # Each round the ranks' totals are added: 1 + 2, then 3 + 1 + 3 + 2.
    assert job.model().data["total"].tolist() == [9.0]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("site", "rank"), [("site-2", 0), ("site-3", 1)])
def test_the_crash_of_any_rank_is_told_with_its_traceback(job: Job, site: str, rank: int):
    text = failure(job, site)
    assert f"rank {rank}, process " in text
    assert 'raise ArithmeticError(f"no luck in rank {rank}")' in text
    assert f"ArithmeticError: no luck in rank {rank}" in text
