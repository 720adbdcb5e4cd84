"""What a workflow can do through its context beside a broadcast, and what it is told."""

import re
from typing import Any

import numpy as np
import pytest

from federant.exchange import DXO, DataKind, ReturnCode
from federant.link.messages import MAX_TEXT_CHARS, SiteState
from federant.server.workflow import JobStopped, Suspended, TooFewSitesError, WorkflowError

EMPTY = DXO(DataKind.WEIGHTS)
MODEL = DXO(DataKind.WEIGHTS, {"w": np.arange(4, dtype=np.float32)})


def metrics(loss: float) -> DXO:
    return DXO(DataKind.METRICS, {"loss": loss})


def test_send_returns_the_result_of_one_site(federation: Any) -> None:
    server = federation(train=lambda *_: metrics(0.25))
    server.submit()
    result = server.context().send("site-2", "evaluate", MODEL)
    assert result.site == "site-2"
    assert result.data.data == {"loss": 0.25}
    assert [task.site for task in server.store.step_tasks("job-1", 0)] == ["site-2"]


def test_relay_gives_each_site_what_the_one_before_returned(federation: Any) -> None:
    def add_one(task: Any, model: DXO) -> DXO:
        return DXO(DataKind.WEIGHTS, {"w": model.data["w"] + 1})

    server = federation(train=add_one)
    server.submit()
    results = server.context().relay(["site-3", "site-1", "site-2"], "train", MODEL)
    assert [result.site for result in results] == ["site-3", "site-1", "site-2"]
    np.testing.assert_array_equal(results[-1].data.data["w"], MODEL.data["w"] + 3)


def test_relay_passes_over_a_site_that_fails(federation: Any) -> None:
    def add_one(task: Any, model: DXO) -> Any:
        if task.site == "site-2":
            return server.Failure(ReturnCode.TRAINER_DIED)
        return DXO(DataKind.WEIGHTS, {"w": model.data["w"] + 1})

    server = federation(train=add_one)
    server.submit()
    results = server.context().relay(["site-1", "site-2", "site-3"], "train", MODEL)
    assert [result.ok for result in results] == [True, False, True]
    np.testing.assert_array_equal(results[-1].data.data["w"], MODEL.data["w"] + 2)


def test_wait_for_sites_waits_until_so_many_are_ready(federation: Any) -> None:
    server = federation()
    server.submit()
    assert server.context().wait_for_sites(2) == ["site-1", "site-2"]


def test_waiting_for_sites_in_vain_names_those_that_are_silent(federation: Any) -> None:
    server = federation()
    server.silent = {"site-2", "site-3"}
    server.submit()
    said = (
        "2 sites are needed for job job-1; 1 of its 3 were ready in time "
        "(ready: site-1; silent: site-2, site-3; gone: none); "
    )
    with pytest.raises(TooFewSitesError, match=re.escape(said)):
        server.context().wait_for_sites(2, timeout=10.0)


def test_waiting_for_sites_that_have_refused_ends_at_once(federation: Any) -> None:
    server = federation(sites=("site-1", "site-2"))
    server.submit()
    server.store.set_site_state("job-1", "site-1", SiteState.REFUSED, "no trainer 'digits'")
    said = (
        "2 sites are needed for job job-1; only 1 of its 2 can still take part "
        "(ready: none; silent: site-2; gone: site-1 refused: no trainer 'digits'); "
    )
    with pytest.raises(TooFewSitesError, match=re.escape(said)):
        server.context().wait_for_sites(2)


def test_random_choices_are_the_same_for_each_replay_and_differ_by_step(federation: Any) -> None:
    server = federation()
    server.submit()

    def draw() -> tuple[list[float], list[float]]:
        context = server.context(seed=5)
        first = [context.random.random(), context.random.random()]
        context.sites()
        return first, [context.random.random(), context.random.random()]

    first, second = draw()
    assert (first, second) == draw()
    assert first != second
    assert len({*first, *second}) == 4


def test_the_initial_model_is_there(federation: Any) -> None:
    server = federation()
    server.submit(MODEL)
    np.testing.assert_array_equal(server.context().initial_model.data["w"], MODEL.data["w"])


def test_a_saved_model_can_be_loaded_by_its_round(federation: Any) -> None:
    server = federation()
    server.submit()
    context = server.context()
    context.save_model(MODEL, current_round=4, metrics={"accuracy": 0.5})
    np.testing.assert_array_equal(context.load_model(4).data["w"], MODEL.data["w"])
    [kept] = server.store.models("job-1")
    assert kept.metrics == {"accuracy": 0.5}
    with pytest.raises(WorkflowError, match="no model of round 3"):
        context.load_model(3)


def test_a_model_that_is_kept_and_given_out_is_stored_once(federation: Any) -> None:
    server = federation()
    server.submit()
    context = server.context()
    context.save_model(MODEL, current_round=0)
    context.broadcast("train", MODEL, current_round=1)
    [kept] = server.store.models("job-1")
    assert {task.blob for task in server.store.step_tasks("job-1", 1)} == {kept.blob}


def test_resume_begins_behind_the_newest_model(federation: Any) -> None:
    server = federation()
    server.submit(MODEL)
    context = server.context()
    assert context.resume()[0] == 0
    context.save_model(DXO(DataKind.WEIGHTS, {"w": np.ones(4)}), current_round=0)

    round_number, model = server.context().resume()
    assert round_number == 1
    np.testing.assert_array_equal(model.data["w"], np.ones(4))


def test_what_is_remembered_is_asked_once(federation: Any) -> None:
    server = federation()
    server.submit()
    assert server.context().remember("dice", lambda: 4) == 4
    assert server.context().remember("dice", lambda: 5) == 4


def test_log_and_metric_reach_the_jobs_events_once(federation: Any) -> None:
    server = federation()
    server.submit()
    for _ in range(2):
        context = server.context()
        context.log("hello")
        context.log("hello")
        context.metric("accuracy", 0.5, 3)
    events = server.store.events("job-1")
    found = [(event.site, event.kind, event.tag, event.text, event.value) for event in events]
    assert found == [
        ("", "TEXT", "log", "hello", None),
        ("", "TEXT", "log", "hello", None),
        ("", "METRIC", "accuracy", "", 0.5),
    ]


def test_a_text_that_no_event_can_hold_is_cut_and_fails_no_job(federation: Any) -> None:
    long = "x" * (2 * MAX_TEXT_CHARS)
    server = federation(
        sites=("site-1",),
        train=lambda *_: server.Failure(ReturnCode.EXECUTION_EXCEPTION, long),
    )
    server.submit()
    context = server.context()
    context.log(long)
    [result] = context.broadcast("train", EMPTY)
    assert result.error == long
    assert [len(event.text) for event in server.store.events("job-1")] == [MAX_TEXT_CHARS] * 2


def test_a_stop_ends_a_run_that_waits(federation: Any) -> None:
    server = federation()
    server.submit()
    gathering = server.context().broadcast("train", EMPTY)
    server.at_next_wait(lambda: server.store.request_stop("job-1"))
    with pytest.raises(JobStopped, match="job-1 was stopped"):
        list(gathering)


def test_a_stop_that_came_before_the_wait_is_not_slept_over(federation: Any) -> None:
    server = federation()
    server.submit()
    gathering = server.context().broadcast("train", EMPTY)
    server.store.request_stop("job-1")
    server.at_next_wait(lambda: pytest.fail("it waited"))
    with pytest.raises(JobStopped):
        list(gathering)


def test_the_end_of_a_run_is_no_exception_that_a_workflow_could_swallow() -> None:
    assert not issubclass(JobStopped, Exception)
    assert not issubclass(Suspended, Exception)


def test_a_run_whose_server_stops_is_suspended_and_its_tasks_stay(federation: Any) -> None:
    server = federation()
    server.submit()
    gathering = server.context().broadcast("train", EMPTY)
    server.at_next_wait(lambda: setattr(server, "suspended", True))
    with pytest.raises(Suspended):
        list(gathering)
    assert all(task.state.open for task in server.store.step_tasks("job-1", 0))
