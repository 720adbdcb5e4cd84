"""Which sinks a job may name at a server."""

from dataclasses import replace
from pathlib import Path

import pytest

from federant.link import LinkRefused
from federant.link.messages import Event, JobSpec, JobState, SinkName
from federant.link.operator import connect
from federant.server.routes.services import Services
from federant.server.state import Store
from federant.server.tracking import Sinks, load_settings, sinks


@pytest.fixture
def checking(tmp_path: Path, services: Services) -> Services:
    """Services that check which sinks a job names."""
    known = Sinks(load_settings(tmp_path), services.store, services.blobs, services.wakeups)
    return replace(services, check_job=known.check)


def test_a_sink_that_nobody_has_set_up_is_refused_with_what_the_operator_can_do(
    checking: Services, serving
) -> None:
    with serving(checking) as url, connect(url) as federation:
        with pytest.raises(LinkRefused, match=r"a table \[sinks.mlflow\] of the file that fed"):
            federation.submit(trainer="digits", sinks=["mlflow"])
        assert federation.jobs() == ()


def test_a_sink_whose_package_is_missing_is_refused_with_what_to_install(
    checking: Services, serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sinks._MODULES, SinkName.TENSORBOARD, "a_package_that_is_not_there")
    with (
        serving(checking) as url,
        connect(url) as federation,
        pytest.raises(LinkRefused, match=r"pip install 'federant\[tensorboard\]'"),
    ):
        federation.submit(trainer="digits", sinks=["tensorboard"])


def test_a_job_tells_how_far_its_sinks_are(services: Services, serving, store: Store) -> None:
    with serving(services) as url, connect(url) as federation:
        job = federation.submit(trainer="digits", sinks=["tensorboard", "prometheus"])
        store.add_events(job.id, "site-1", [Event(id=str(n), kind="METRIC") for n in range(3)])
        (cursor,) = (cursor for _, cursor in store.open_sinks(SinkName.TENSORBOARD))
        first, *_ = store.events(job.id)
        store.save_sink_cursor(replace(cursor, seq=first.seq, error="the disk is full"))
        (sink,) = job.metrics().sinks
        assert (sink.sink, sink.behind, sink.error) == ("tensorboard", 2, "the disk is full")


def test_jobs_that_ended_long_ago_are_not_asked_for(store: Store) -> None:
    old, new = (
        store.create_job(JobSpec(name=name, trainer="t", sinks=(SinkName.PROMETHEUS,)))
        for name in ("a", "b")
    )
    ended = store.set_job_state(old.id, JobState.FINISHED).ended
    assert ended is not None
    found = store.open_sinks(SinkName.PROMETHEUS, ended_after=ended)
    assert [job.id for job, _ in found] == [new.id]
    assert len(store.open_sinks(SinkName.PROMETHEUS, ended_after=ended - 1)) == 2


def test_each_job_has_its_own_sinks(store: Store) -> None:
    first = store.create_job(JobSpec(name="a", trainer="t", sinks=(SinkName.MLFLOW,)))
    second = store.create_job(
        JobSpec(name="b", trainer="t", sinks=(SinkName.WANDB, SinkName.MLFLOW))
    )
    assert [job.id for job, _ in store.open_sinks(SinkName.MLFLOW)] == [first.id, second.id]
    assert [job.id for job, _ in store.open_sinks(SinkName.WANDB)] == [second.id]
    assert store.open_sinks(SinkName.TENSORBOARD) == []
