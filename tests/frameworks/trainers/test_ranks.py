"""Patched trainers of two processes at real sites.

Lightning's DDP starts the second one by itself, in the first validate or fit; Hugging Face's
Trainer is started by torchrun.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from federant.demo.federation import TRAINER, LocalFederation
from federant.link.messages import JobState
from federant.link.operator import Job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIGHTNING = Path(__file__).with_name("lightning_ranks.py")
HUGGINGFACE = Path(__file__).with_name("huggingface_ranks.py")
SECONDS = 300.0


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job of two rounds with one site that does well and one where rank 1 crashes."""
    folder = tmp_path_factory.mktemp("federation")
    sites = {"site-1": "well", "site-2": "crash"}
    trainers = {site: [sys.executable, str(LIGHTNING), fate] for site, fate in sites.items()}
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("GLOO_SOCKET_IFNAME", "lo")
        running = stack.enter_context(LocalFederation(folder, trainers))
        job = running.client.submit(trainer=TRAINER, sites=list(sites), rounds=2, min_sites=1)
        view = job.wait(SECONDS)
        said = "\n".join(f"== {log}\n{log.read_text()}" for log in running.logs())
        assert view.state is JobState.FINISHED, f"{view.error}\n{said}"
        yield job


def test_all_processes_train_the_model_that_one_received(job: Job):
    # Of eight rows each process has four: four steps a round.
    assert job.model().data["weight"].tolist() == [8.0]


def test_a_crash_of_the_second_process_is_told_with_its_traceback(job: Job):
    events = [event for event in job.events().events if event.site == "site-2"]
    text = next(event.text for event in events if event.tag == "result")
    assert "rank 1, process " in text
    assert "ArithmeticError: no luck in rank 1" in text


def test_hugging_faces_processes_train_the_model_that_one_received(federated: Any):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GLOO_SOCKET_IFNAME", "lo")
        environment.setenv("HF_HUB_OFFLINE", "1")
        job = federated({"site-1": [*torchrun, str(HUGGINGFACE)]}, rounds=2, seconds=SECONDS)
    # Of eight rows each process has four: four steps a round.
    assert job.model().data["weight"].tolist() == [8.0]
