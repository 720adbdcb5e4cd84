"""Broadcasts and their results: who is asked, what comes back, and when a step has ended."""

from typing import Any

import numpy as np
import pytest

from federant.exchange import DXO, DataKind, MetaKey, ReturnCode, Shareable
from federant.link.messages import SiteState
from federant.server.workflow import TooFewSitesError, WorkflowError

EMPTY = DXO(DataKind.WEIGHTS)
MODEL = DXO(DataKind.WEIGHTS, {"w": np.arange(4, dtype=np.float32)})


def metrics(loss: float) -> DXO:
    return DXO(DataKind.METRICS, {"loss": loss})


def test_results_come_as_they_arrive(federation: Any) -> None:
    server = federation()
    server.submit()
    gathering = server.context().broadcast("train", EMPTY)
    states = []
    for result in gathering:
        open_tasks = [task for task in server.store.step_tasks("job-1", 0) if task.state.open]
        states.append((result.site, len(open_tasks)))
    assert states == [("site-1", 2), ("site-2", 1), ("site-3", 0)]


def test_a_result_has_site_weight_data_and_body(federation: Any) -> None:
    server = federation(sites=("site-2",))
    server.submit()
    [result] = server.context().broadcast("train", EMPTY)
    assert (result.site, result.ok, result.rc, result.error) == ("site-2", True, "OK", "")
    assert result.weight == 20
    assert result.data.data_kind == DataKind.WEIGHTS
    assert isinstance(result.body, Shareable)
    assert result.data.data["w"].shape == (3, 4)
    assert not result.data.data["w"].flags.writeable


def test_a_result_without_a_weight_weighs_one(federation: Any) -> None:
    server = federation(sites=("site-1",), train=lambda *_: metrics(0.5))
    server.submit()
    [result] = server.context().broadcast("evaluate", MODEL, expect=(DataKind.METRICS,))
    assert result.weight == 1


def test_a_result_without_a_dxo_has_none_and_says_so_when_asked_for_one(federation: Any) -> None:
    server = federation(sites=("site-1",), train=lambda *_: None)
    server.submit()
    [result] = server.context().broadcast("ping", EMPTY)
    assert result.ok
    assert result.dxo is None
    with pytest.raises(WorkflowError, match=r"job-1-0-0-site-1 holds no DXO"):
        _ = result.data


def test_a_failure_is_a_value_among_the_results(federation: Any) -> None:
    def train(task: Any, model: DXO) -> Any:
        if task.site == "site-2":
            return server.Failure(ReturnCode.TRAINER_DIED, "killed by SIGKILL")
        return metrics(1.0)

    server = federation(train=train)
    server.submit()
    gathering = server.context().broadcast("train", EMPTY)
    assert [result.ok for result in gathering] == [True, False, True]
    [failure] = gathering.failed
    assert (failure.site, failure.rc) == ("site-2", ReturnCode.TRAINER_DIED)
    assert failure.error == "killed by SIGKILL"
    assert failure.dxo is None
    assert gathering.succeeded == 2


def test_a_failure_reaches_the_operator_once(federation: Any) -> None:
    server = federation(train=lambda *_: server.Failure(ReturnCode.TRAINER_DIED, "status 1"))
    server.submit()
    gathering = server.context().broadcast("train", EMPTY, ["site-1"])
    assert len(list(gathering)) == len(list(gathering)) == 1
    assert server.failures() == ["site-1: TRAINER_DIED: status 1"]


def test_a_site_that_leaves_the_job_is_a_failure_at_once(federation: Any) -> None:
    server = federation()
    server.submit()
    server.at_next_wait(
        lambda: server.store.set_site_state("job-1", "site-1", SiteState.REFUSED, "no such trainer")
    )
    gathering = server.context().broadcast("train", EMPTY)
    first = next(iter(gathering))
    assert (first.site, first.rc) == ("site-1", ReturnCode.TRAINER_ABSENT)
    assert "no such trainer" in first.error


def test_a_site_that_has_left_is_asked_no_more(federation: Any) -> None:
    server = federation()
    server.submit()
    server.store.set_site_state("job-1", "site-1", SiteState.FAILED, "")
    assert server.context().broadcast("train", EMPTY).sites == ["site-2", "site-3"]


def test_enough_results_end_the_step_and_cancel_the_rest(federation: Any) -> None:
    server = federation()
    server.submit()
    gathering = server.context().broadcast("train", EMPTY, min_results=2)
    assert [result.site for result in gathering] == ["site-1", "site-2"]
    assert gathering.failed == []
    states = [task.state for task in server.store.step_tasks("job-1", 0)]
    assert states == ["done", "done", "cancelled"]


def test_failures_do_not_count_as_enough(federation: Any) -> None:
    def train(task: Any, model: DXO) -> Any:
        return metrics(1) if task.site != "site-1" else server.Failure(ReturnCode.TASK_ABORTED)

    server = federation(train=train)
    server.submit()
    gathering = server.context().broadcast("train", EMPTY, min_results=1)
    assert [result.site for result in gathering] == ["site-1", "site-2"]


def test_sites_that_miss_the_deadline_are_failures_and_their_tasks_cancelled(
    federation: Any,
) -> None:
    server = federation()
    server.silent = {"site-1", "site-3"}
    server.submit()
    gathering = server.context().broadcast("train", EMPTY, timeout=20.0)
    found = [(result.site, result.rc) for result in gathering]
    assert found == [
        ("site-2", ReturnCode.OK),
        ("site-1", ReturnCode.TASK_TIMEOUT),
        ("site-3", ReturnCode.TASK_TIMEOUT),
    ]
    states = [task.state for task in server.store.step_tasks("job-1", 0)]
    assert states == ["cancelled", "done", "cancelled"]


def test_a_result_at_hand_beats_the_deadline(federation: Any) -> None:
    server = federation(sites=("site-1",))
    server.submit()
    gathering = server.context().broadcast("train", EMPTY, timeout=20.0)
    server.commit(server.take("site-1"), metrics(1.0))
    server.clock.now += 21.0
    assert [result.rc for result in gathering] == [ReturnCode.OK]


def test_a_gathering_that_is_closed_in_the_loop_waits_for_no_more(federation: Any) -> None:
    server = federation()
    server.submit()
    gathering = server.context().broadcast("train", EMPTY)
    for _ in gathering:
        gathering.close()
    assert gathering.succeeded == 1
    assert len(list(gathering)) == 1
    assert server.store.step("job-1", 0).outcome["ended_by"] == "closed"


def test_too_few_results_name_each_failure(federation: Any) -> None:
    server = federation(train=lambda *_: server.Failure(ReturnCode.TRAINER_DIED, "status 1"))
    server.submit()
    gathering = server.context().broadcast("train", EMPTY, ["site-1", "site-2"])
    assert len(list(gathering)) == 2
    with pytest.raises(TooFewSitesError) as raised:
        gathering.require(1)
    assert str(raised.value) == (
        "0 of 2 sites gave a good result for 'train' (step 0) and 1 are needed: "
        "site-1: TRAINER_DIED: status 1; site-2: TRAINER_DIED: status 1"
    )


def test_rounds_travel_as_headers_of_the_task(federation: Any) -> None:
    server = federation(sites=("site-1",))
    server.submit()
    server.context().broadcast("train", EMPTY, current_round=3, total_rounds=8)
    task = server.take("site-1")
    assert (task.name, task.headers) == ("train", {"current_round": 3, "num_rounds": 8})
    assert server.store.step("job-1", 0).detail["round"] == 3


def test_min_results_above_the_number_of_sites_is_refused(federation: Any) -> None:
    server = federation()
    server.submit()
    with pytest.raises(ValueError, match="min_results must be from 0 to the number of sites, 3"):
        server.context().broadcast("train", EMPTY, min_results=4)


def test_a_broadcast_to_nobody_is_refused(federation: Any) -> None:
    server = federation()
    server.submit()
    with pytest.raises(TooFewSitesError, match="no site to be given task 'train'"):
        server.context().broadcast("train", EMPTY, [])


def test_a_job_that_names_its_sites_asks_those_that_are_not_ready_too(federation: Any) -> None:
    server = federation()
    server.submit()
    server.store.set_site_state("job-1", "site-2", SiteState.READY)
    context = server.context()
    assert context.broadcast("train", EMPTY).sites == ["site-1", "site-2", "site-3"]
    assert context.sites() == ["site-1", "site-2", "site-3"]


def test_a_job_that_names_no_sites_asks_those_that_are_ready_as_the_step_begins(
    federation: Any,
) -> None:
    server = federation()
    server.submit(named=False)

    def asked(context: Any) -> list[list[str]]:
        return [context.broadcast("train", EMPTY).sites, context.sites()]

    server.store.set_site_state("job-1", "site-2", SiteState.READY)
    first = server.context()
    assert asked(first) == [["site-2"], ["site-2"]]
    server.store.set_site_state("job-1", "site-1", SiteState.READY)
    assert asked(first) == [["site-1", "site-2"], ["site-1", "site-2"]]

    server.store.set_site_state("job-1", "site-2", SiteState.ENDED, "")
    replayed = server.context()
    assert asked(replayed) == [["site-2"], ["site-2"]]
    assert asked(replayed) == [["site-1", "site-2"], ["site-1", "site-2"]]
    assert asked(replayed) == [["site-1"], ["site-1"]]


def test_a_broadcast_when_no_site_is_ready_says_how_each_stands(federation: Any) -> None:
    server = federation()
    server.submit(named=False)
    server.store.set_site_state("job-1", "site-1", SiteState.FAILED, "the disk died")
    server.store.set_site_state("job-1", "site-2", SiteState.ENDED, "")
    with pytest.raises(TooFewSitesError) as raised:
        server.context().broadcast("train", EMPTY)
    assert str(raised.value) == (
        "there is no site to be given task 'train' (sites of job job-1: "
        "site-1 failed: the disk died; site-2 ended; site-3 pending)"
    )


def test_too_few_results_name_the_sites_that_could_not_be_asked(federation: Any) -> None:
    server = federation()
    server.submit(named=False)
    server.silent = {"site-3"}
    server.store.set_site_state("job-1", "site-1", SiteState.READY)
    server.store.set_site_state("job-1", "site-2", SiteState.FAILED, "the disk died")
    gathering = server.context().broadcast("train", EMPTY)
    assert len(list(gathering)) == 1
    with pytest.raises(TooFewSitesError) as raised:
        gathering.require(2)
    assert str(raised.value) == (
        "1 of 1 sites gave a good result for 'train' (step 0) and 2 are needed: "
        "no more were waited for; not asked: site-2 failed: the disk died; site-3 pending"
    )


def test_of_two_first_results_at_once_that_do_not_fit_only_the_first_counts(
    federation: Any,
) -> None:
    server = federation(sites=("site-1", "site-2"))
    server.submit()
    gathering = server.context().broadcast("train", EMPTY, expect=(DataKind.WEIGHTS,))
    server.check = False  # neither commit saw the other
    server.commit(server.take("site-1"), DXO(DataKind.WEIGHTS, {"w": np.zeros(3)}))
    server.commit(server.take("site-2"), DXO(DataKind.WEIGHTS, {"w": np.zeros(4)}))
    assert [result.rc for result in gathering] == [ReturnCode.OK, ReturnCode.RESULT_WRONG_SHAPE]


def test_a_weight_in_the_meta_is_the_weight(federation: Any) -> None:
    answer = DXO(DataKind.WEIGHTS, {"w": np.ones(2)}, {MetaKey.NUM_STEPS_CURRENT_ROUND: 7})
    server = federation(sites=("site-1",), train=lambda *_: answer)
    server.submit()
    [result] = server.context().broadcast("train", EMPTY)
    assert result.weight == 7
