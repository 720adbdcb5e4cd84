"""Scripts in the styles of nvflare.client's users, federated with their imports alone changed.

Each is run by its site, and on another machine than its site as far as one machine can show: there
no site starts it, and the environment names nothing but an agent's kit.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant.exchange import DXO, DataKind
from federant.link.operator import Job

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).with_name("scripts")
SITES = ("site-1", "site-2")

Changed = Callable[[Path], str]
Run = Callable[..., Job]


@pytest.fixture(params=["by its site", "from afar"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs jobs whose trainers are these: ``run({"site-1": ["script.py"], ...}, rounds=2)``.

    All jobs of one test have the same trainers. One that takes a task a process is started
    ``times``.
    """
    if request.param == "from afar":
        return request.getfixturevalue("run_from_afar")  # type: ignore[no-any-return]
    federation_of: Callable[..., Run] = request.getfixturevalue("federation_of")
    started: list[Run] = []

    def run(trainers: dict[str, list[str]], times: int = 1, **options: Any) -> Job:
        if not started:
            started.append(federation_of(trainers, 'start = "task"' if times > 1 else ""))
        return started[0](**options)

    return run


def metrics_of(job: Job) -> list[tuple[str, str, float | None, int | None]]:
    return [
        (event.site, event.tag, event.value, event.step)
        for event in job.events().events
        if event.kind == "METRIC"
    ]


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_numpy_with_evaluation_first_whole_or_as_difference(
    run: Run, changed_script: Changed, transfer: str
) -> None:
    script = changed_script(SCRIPTS / "numpy_train.py")
    start = {"weight": np.zeros(5), "bias": np.zeros(1), "examples_seen": 0}
    trainers = {site: [script, "--epochs", "3"] for site in SITES}
    job = run(trainers, initial_model=DXO(DataKind.WEIGHTS, start), rounds=3, transfer=transfer)

    alone = runpy.run_path(script, run_name="alone")
    data = {site: alone["load_data"](site) for site in SITES}
    counts = {site: len(labels) for site, (_, labels) in data.items()}
    expected: dict[str, Any] = start
    for number in range(3):
        scores = {site: alone["evaluate"](expected, *data[site]) for site in SITES}
        trained = {site: alone["train"](expected, *data[site], 3) for site in SITES}
        kept = job.models()[number].metrics
        mean = sum(counts[site] * scores[site] for site in SITES) / sum(counts.values())
        assert kept["initial_metrics"] == {"accuracy": pytest.approx(mean)}
        assert (kept["sites"], kept["weight"]) == (2, 240.0)
        expected = {
            name: sum(counts[site] * trained[site][name] for site in SITES) / sum(counts.values())
            for name in start
        }
        expected["examples_seen"] = round(expected["examples_seen"])
    for name, value in job.model().data.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-12)
    assert alone["evaluate"](job.model().data, *data["site-1"]) > 0.85


def test_cross_site_validation_with_a_branch_for_each_task(
    run: Run, changed_script: Changed, tmp_path: Path
) -> None:
    script = changed_script(SCRIPTS / "cross_site.py")
    trainers = {site: [script, str(tmp_path / f"{site}.npz")] for site in SITES}
    start = DXO(DataKind.WEIGHTS, {"mean": np.zeros(2)})
    trained = run(trainers, initial_model=start, rounds=2)
    job = run(trainers, workflow="cross_site", initial_model=trained.model())
    # Each site's own model is the mean of the round before, 0.75, and its own number.
    errors = {tag: value for _, tag, value, _ in metrics_of(job)}
    assert errors == {
        "error/server@site-1": pytest.approx(1.125 - 1),
        "error/server@site-2": pytest.approx(2 - 1.125),
        "error/site-1@site-1": pytest.approx(1 - 0.875),
        "error/site-1@site-2": pytest.approx(2 - 0.875),
        "error/site-2@site-1": pytest.approx(1.375 - 1),
        "error/site-2@site-2": pytest.approx(2 - 1.375),
    }


def test_one_task_a_process_that_ends_right_after_it_has_sent(
    run: Run, changed_script: Changed
) -> None:
    script = changed_script(SCRIPTS / "one_task.py")
    trainers = {"site-1": [script], "site-2": [script, "abrupt"]}
    start = DXO(DataKind.WEIGHTS, {"weight": np.zeros(1000, np.float32)})
    job = run(trainers, times=3, initial_model=start, rounds=3)
    np.testing.assert_array_equal(job.model().data["weight"], np.full(1000, 3, np.float32))
    assert [model.metrics["sites"] for model in job.models()] == [2, 2, 2]


def test_metrics_that_are_texts_or_empty(run: Run, changed_script: Changed) -> None:
    script = changed_script(SCRIPTS / "odd_metrics.py")
    trainers = {site: [script] for site in SITES}
    trained = run(trainers, rounds=2)
    assert trained.model().data == {"weight": 1.0, "count": None, "tree": b"bytes"}
    assert "initial_metrics" not in trained.models()[1].metrics
    validated = run(trainers, workflow="cross_site", initial_model=trained.model())
    assert metrics_of(validated) == []


def test_decorated_functions(run: Run, changed_script: Changed) -> None:
    script = changed_script(SCRIPTS / "decorated.py")
    start = DXO(DataKind.WEIGHTS, {"weight": 2.0})
    job = run({site: [script] for site in SITES}, initial_model=start, rounds=2)
    assert job.model().data == {"weight": 5.0}
    sizes = [model.metrics["initial_metrics"]["size"] for model in job.models()]
    assert sizes == [4.0, 7.0]


def test_a_summary_writer_beside_the_training(run: Run, changed_script: Changed) -> None:
    script = changed_script(SCRIPTS / "summary_writer.py")
    start = DXO(DataKind.WEIGHTS, {"weight": 2.0})
    job = run({site: [script] for site in SITES}, initial_model=start, rounds=2)
    found = metrics_of(job)
    for site in SITES:
        losses = {step: value for name, tag, value, step in found if (name, tag) == (site, "loss")}
        assert losses == {step: 1 / (1 + step % 3) for step in range(6)}
        assert (site, "accuracy", 0.5, 1) in found
    notes = [event.text for event in job.events().events if event.tag == "note"]
    assert sorted(notes) == ["round 0 of 2", "round 0 of 2", "round 1 of 2", "round 1 of 2"]
