"""What tests of whole federations share: a job that sites of real processes do."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from federant.demo.federation import TRAINER, LocalFederation
from federant.link.messages import JobState
from federant.link.operator import Job

SECONDS = 100.0
"""What a job may take here: far more than it does, and less than the test may."""


@pytest.fixture
def federated(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Runs a job to its end: ``federated({"site-1": ["script.py", "--flag"]}, rounds=3)``.

    Each site starts its script with this Python.  Further keywords are those of ``submit``.
    """
    with ExitStack() as running:

        def run(trainers: Mapping[str, Sequence[str]], **options: Any) -> Job:
            commands = {site: [sys.executable, *script] for site, script in trainers.items()}
            federation = running.enter_context(LocalFederation(tmp_path / "federation", commands))
            sites = list(trainers)
            options = {"sites": sites, "min_sites": len(sites), **options}
            job = federation.client.submit(trainer=TRAINER, **options)
            view = job.wait(SECONDS)
            said = "\n".join(f"== {log.name}\n{log.read_text()}" for log in federation.logs())
            assert view.state is JobState.FINISHED, f"{view.error}\n{said}"
            return job

        yield run
