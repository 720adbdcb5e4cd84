"""Cross-site validation: who is asked for what, and what the operator sees of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federant.exchange import DXO, DataKind, ReturnCode
from federant.server.workflow import CrossSite, TooFewSitesError


def initial() -> DXO:
    return DXO(DataKind.WEIGHTS, {"w": np.zeros(2, np.float32)})


def handed_in(task: Any, model: DXO) -> DXO:
    """A site's model is its number; its score of a model is how far that is from its own."""
    number = float(task.site[-1])
    if task.name == "submit_model":
        return DXO(DataKind.WEIGHTS, {"w": np.full(2, number, np.float32)})
    distance = abs(number - float(model.data["w"][0]))
    return DXO(DataKind.METRICS, {"distance": distance, "report": "text", "by": {"class": 1.0}})


def metrics(server: Any) -> dict[str, float]:
    events = server.store.events("job-1")
    return {event.tag: event.value for event in events if event.kind == "METRIC"}


def texts(server: Any) -> list[str]:
    events = server.store.events("job-1")
    return [event.text for event in events if event.tag == "log"]


def test_every_site_evaluates_every_model_and_that_of_the_job(federation: Any) -> None:
    server = federation(train=handed_in, sites=("site-1", "site-3"))
    server.submit(initial())
    server.run(CrossSite(min_sites=2))
    found = metrics(server)
    assert {tag: value for tag, value in found.items() if tag.startswith("distance/")} == {
        "distance/server@site-1": 1.0,
        "distance/server@site-3": 3.0,
        "distance/site-1@site-1": 0.0,
        "distance/site-1@site-3": 2.0,
        "distance/site-3@site-1": 2.0,
        "distance/site-3@site-3": 0.0,
    }
    assert found["by/class/site-1@site-3"] == 1.0
    assert len(found) == 12
    assert texts(server)[1].splitlines() == [
        "distance: model of  at site-1  at site-3",
        "server              1          3",
        "site-1              0          2",
        "site-3              2          0",
    ]


def test_a_trainer_is_told_which_model_is_wanted_and_whose_it_evaluates(federation: Any) -> None:
    asked, owners = [], []

    def look(task: Any, model: DXO) -> DXO:
        body = server.body(task)
        if task.name == "submit_model":
            asked.append(body.get_header("submit_model_name"))
        else:
            owners.append(body.meta["model_owner"])
        return handed_in(task, model)

    server = federation(train=look, sites=("site-1", "site-2"))
    server.submit()
    server.run(CrossSite(model_name="last_model"))
    assert asked == ["last_model", "last_model"]
    assert sorted(owners) == ["site-1", "site-1", "site-2", "site-2"]


def test_a_site_without_a_model_evaluates_those_of_the_others(federation: Any) -> None:
    def train(task: Any, model: DXO) -> Any:
        if task.site == "site-2" and task.name == "submit_model":
            return server.Failure(ReturnCode.EMPTY_RESULT, "none was trained")
        return handed_in(task, model)

    server = federation(train=train, sites=("site-1", "site-2"))
    server.submit()
    server.run(CrossSite())
    assert {tag for tag in metrics(server) if tag.startswith("distance")} == {
        "distance/site-1@site-1",
        "distance/site-1@site-2",
    }


def test_a_site_that_cannot_evaluate_leaves_a_gap_in_the_table(federation: Any) -> None:
    def train(task: Any, model: DXO) -> Any:
        if task.site == "site-2" and task.name == "validate":
            return DXO(DataKind.WEIGHTS, {"w": np.zeros(2, np.float32)})
        return handed_in(task, model)

    server = federation(train=train, sites=("site-1", "site-2", "site-3"))
    server.submit()
    server.run(CrossSite())
    assert "at site-2" not in texts(server)[1]
    assert "site-2              1          1" in texts(server)[1].splitlines()


def test_too_few_evaluations_fail_the_job(federation: Any) -> None:
    server = federation(
        train=lambda task, model: (
            handed_in(task, model)
            if task.name == "submit_model"
            else server.Failure(ReturnCode.EXECUTION_EXCEPTION, "out of memory")
        )
    )
    server.submit()
    with pytest.raises(TooFewSitesError, match=r"0 of 3 sites .* 'validate' .* out of memory"):
        server.run(CrossSite())


def test_without_any_model_the_job_fails_with_each_sites_reason(federation: Any) -> None:
    server = federation(
        train=lambda *_: server.Failure(ReturnCode.TASK_UNKNOWN, "no such task"),
        sites=("site-1",),
    )
    server.submit()
    with pytest.raises(TooFewSitesError, match=r"handed in a model .*: site-1: TASK_UNKNOWN: no"):
        server.run(CrossSite())
