"""Scripts in the styles of nvflare.client's users on another machine than their site, as far as one
machine can show: no site starts them, and the environment names nothing but an agent's kit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from federant.exchange import DXO, DataKind
from federant.link.operator import Job

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).with_name("scripts")
SITES = ("site-1", "site-2")

Changed = Callable[[Path], str]
Run = Callable[..., Job]


def metrics_of(job: Job) -> dict[tuple[str, str], float | None]:
    events = job.events().events
    return {(each.site, each.tag): each.value for each in events if each.kind == "METRIC"}


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_numpy_with_evaluation_first_whole_or_as_difference(
    run_from_afar: Run, changed_script: Changed, transfer: str
) -> None:
    script = changed_script(SCRIPTS / "numpy_train.py")
    start = {"weight": np.zeros(5), "bias": np.zeros(1), "examples_seen": 0}
    job = run_from_afar(
        {site: [script, "--epochs", "3"] for site in SITES},
        initial_model=DXO(DataKind.WEIGHTS, start),
        rounds=3,
        transfer=transfer,
    )
    kept = [model.metrics for model in job.models()]
    assert [(each["sites"], each["weight"]) for each in kept] == [(2, 240.0)] * 3
    assert kept[2]["initial_metrics"]["accuracy"] > kept[0]["initial_metrics"]["accuracy"]
    assert job.model().data["examples_seen"] == 450  # of 3 rounds, as 60 and 180 weigh in the mean


def test_cross_site_validation_with_a_branch_for_each_task(
    run_from_afar: Run, changed_script: Changed, tmp_path: Path
) -> None:
    script = changed_script(SCRIPTS / "cross_site.py")
    trainers = {site: [script, str(tmp_path / f"{site}.npz")] for site in SITES}
    start = DXO(DataKind.WEIGHTS, {"mean": np.zeros(2)})
    trained = run_from_afar(trainers, initial_model=start, rounds=2)
    job = run_from_afar(trainers, workflow="cross_site", initial_model=trained.model())
    errors = {tag: value for (_, tag), value in metrics_of(job).items()}
    # Each site's own model is the mean of the round before, 0.75, and its own number.
    assert errors == {
        "error/server@site-1": pytest.approx(1.125 - 1),
        "error/server@site-2": pytest.approx(2 - 1.125),
        "error/site-1@site-1": pytest.approx(1 - 0.875),
        "error/site-1@site-2": pytest.approx(2 - 0.875),
        "error/site-2@site-1": pytest.approx(1.375 - 1),
        "error/site-2@site-2": pytest.approx(2 - 1.375),
    }


def test_one_task_a_process_that_ends_right_after_it_has_sent(
    run_from_afar: Run, changed_script: Changed
) -> None:
    script = changed_script(SCRIPTS / "one_task.py")
    start = DXO(DataKind.WEIGHTS, {"weight": np.zeros(1000, np.float32)})
    job = run_from_afar(
        {"site-1": [script], "site-2": [script, "abrupt"]}, times=3, initial_model=start, rounds=3
    )
    np.testing.assert_array_equal(job.model().data["weight"], np.full(1000, 3, np.float32))
    assert [model.metrics["sites"] for model in job.models()] == [2, 2, 2]


def test_metrics_that_are_texts_or_empty(run_from_afar: Run, changed_script: Changed) -> None:
    trainers = {site: [changed_script(SCRIPTS / "odd_metrics.py")] for site in SITES}
    trained = run_from_afar(trainers, rounds=2)
    assert trained.model().data == {"weight": 1.0, "count": None, "tree": b"bytes"}
    assert "initial_metrics" not in trained.models()[1].metrics
    validated = run_from_afar(trainers, workflow="cross_site", initial_model=trained.model())
    assert metrics_of(validated) == {}


def test_decorated_functions(run_from_afar: Run, changed_script: Changed) -> None:
    script = changed_script(SCRIPTS / "decorated.py")
    start = DXO(DataKind.WEIGHTS, {"weight": 2.0})
    job = run_from_afar({site: [script] for site in SITES}, initial_model=start, rounds=2)
    assert job.model().data == {"weight": 5.0}


def test_a_summary_writer_beside_the_training(run_from_afar: Run, changed_script: Changed) -> None:
    script = changed_script(SCRIPTS / "summary_writer.py")
    start = DXO(DataKind.WEIGHTS, {"weight": 2.0})
    job = run_from_afar({site: [script] for site in SITES}, initial_model=start, rounds=2)
    found = job.events().events
    for site in SITES:
        losses = {e.step: e.value for e in found if (e.site, e.tag) == (site, "loss")}
        assert losses == {step: 1 / (1 + step % 3) for step in range(6)}
    notes = [event.text for event in found if event.tag == "note"]
    assert sorted(notes) == ["round 0 of 2", "round 0 of 2", "round 1 of 2", "round 1 of 2"]
