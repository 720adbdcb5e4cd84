"""What tests with frameworks share: a backend for Keras, and jobs at sites some of which crash."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from federant.demo.federation import TRAINER, LocalFederation
from federant.link.messages import JobState
from federant.link.operator import Job

# Keras chooses what it computes with before it is imported, by whichever test does that first.
os.environ.setdefault("KERAS_BACKEND", "jax")

SECONDS = 300.0


@pytest.fixture(scope="module")
def job_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Job]]:
    """Runs a job of two rounds at sites of which one that does well is enough.

    ``job_of({"site-1": [sys.executable, "script.py"]})``, each site with its whole command; further
    keywords are variables of the trainers' environment. What their processes say to each other
    passes through the loopback interface.
    """
    with ExitStack() as stack:
        environment = stack.enter_context(pytest.MonkeyPatch.context())

        def run(trainers: dict[str, list[str]], **variables: str) -> Job:
            for name, value in {"GLOO_SOCKET_IFNAME": "lo", **variables}.items():
                environment.setenv(name, value)
            folder = tmp_path_factory.mktemp("federation")
            running = stack.enter_context(LocalFederation(folder, trainers))
            job = running.client.submit(
                trainer=TRAINER, sites=list(trainers), rounds=2, min_sites=1
            )
            view = job.wait(SECONDS)
            said = "\n".join(f"== {log}\n{log.read_text()}" for log in running.logs())
            assert view.state is JobState.FINISHED, f"{view.error}\n{said}"
            return job

        yield run


@pytest.fixture
def failure_of() -> Callable[[Job, str], str]:
    """What the operator is told of a site's first failed task: ``failure_of(job, "site-2")``."""

    def told(job: Job, site: str) -> str:
        events = [event for event in job.events().events if event.site == site]
        return next(event.text for event in events if event.tag == "result")

    return told
