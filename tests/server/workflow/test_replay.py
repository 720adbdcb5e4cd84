"""A server that dies at any moment: the job ends with the same bits as if it had not."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant.exchange import DXO, DataKind, MetaKey, ReturnCode
from federant.link.messages import SiteState
from federant.server.aggregation import WeightedMean
from federant.server.state import TaskState
from federant.server.workflow import (
    Context,
    CrossSite,
    Cyclic,
    FedAvg,
    NotReplayableError,
    Workflow,
)


class Everything(Workflow):
    """Goes through all of its journal on a replay, and uses every act that there is."""

    def run(self, ctx: Context) -> None:
        ctx.log("beginning")
        ctx.wait_for_sites(2)
        model = ctx.initial_model
        for number in range(2):
            everyone = ctx.sites()
            start = ctx.remember("start", ctx.random.random)
            gathering = ctx.broadcast(
                "train",
                model or DXO(DataKind.WEIGHTS),
                ctx.random.sample(everyone, 2),
                current_round=number,
                expect=(DataKind.WEIGHTS,),
            )
            mean = WeightedMean(model)
            for result in gathering:
                mean.add(result.data, result.weight)
            alone = ctx.send(ctx.random.choice(everyone), "train", mean.mean())
            ctx.metric("start", start, number)
            ctx.save_model(alone.data, current_round=number)
            model = ctx.load_model(number)
        [*_, last] = ctx.relay(ctx.sites(), "train", model or DXO(DataKind.WEIGHTS))
        ctx.save_model(last.data, current_round=2)


def initial_model() -> DXO:
    return DXO(DataKind.WEIGHTS, {"w": np.ones((3, 4), np.float32), "b": np.zeros(100)})


JOBS: dict[str, tuple[Workflow, DXO | None, tuple[str, ...]]] = {
    "fedavg": (FedAvg(rounds=2, min_sites=2, seed=7), None, ("site-1", "site-2")),
    "fedavg of any sites": (FedAvg(rounds=2), None, ("site-1", "site-2", "site-3")),
    # In float64 the order in which results are added shows.
    "fedavg in float64": (FedAvg(rounds=2), initial_model(), ("site-1", "site-2", "site-3")),
    "cyclic": (Cyclic(rounds=1, min_sites=2), None, ("site-1", "site-2")),
    "cross-site validation": (CrossSite(min_sites=2), initial_model(), ("site-1", "site-2")),
    "everything": (Everything(seed=3), None, ("site-1", "site-2")),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_killed_after_any_journaled_act_ends_with_the_same_bits(
    federation: Any, tmp_path: Path, name: str
) -> None:
    workflow, model, sites = JOBS[name]
    snapshots: list[str] = []

    def keep_what_a_kill_would_leave(act: int) -> None:
        snapshots.append(f"killed-{act}")
        shutil.copytree(tmp_path / "undisturbed", tmp_path / snapshots[-1])

    undisturbed = federation(
        "undisturbed", sites=sites, train=trained, after_act=keep_what_a_kill_would_leave
    )
    undisturbed.submit(model, named="any sites" not in name)
    undisturbed.run(workflow)
    tasks, models, events = tasks_of(undisturbed), undisturbed.models(), undisturbed.events()
    assert len(snapshots) > 15

    for snapshot in snapshots:
        restarted = federation(snapshot, sites=sites, train=trained)
        restarted.run(workflow)
        assert restarted.models() == models, snapshot
        assert restarted.events() == events, snapshot
        assert tasks_of(restarted) == tasks, snapshot
        restarted.close()


def test_a_server_that_dies_every_few_acts_still_finishes_with_the_same_bits(
    federation: Any,
) -> None:
    undisturbed = federation("undisturbed")
    undisturbed.submit()
    undisturbed.run(FedAvg(rounds=3, seed=1))

    def die(act: int) -> None:
        if act == 4:
            raise undisturbed.Killed

    federation("dying").submit()
    deaths = 0
    finished = False
    while not finished:
        server = federation("dying", after_act=die)
        try:
            server.run(FedAvg(rounds=3, seed=1))
            finished = True
        except undisturbed.Killed:
            deaths += 1
        server.close()

    assert deaths > 5
    assert federation("dying").models() == undisturbed.models()


def test_a_result_that_came_while_the_server_was_down_is_in_the_model(federation: Any) -> None:
    undisturbed = federation("undisturbed")
    undisturbed.submit()
    undisturbed.run(FedAvg(rounds=1))

    first = federation("down")
    first.submit()
    context = first.context()
    context.wait_for_sites(1)
    context.broadcast(
        "train",
        DXO(DataKind.WEIGHTS),
        current_round=0,
        total_rounds=1,
        expect=(DataKind.WEIGHTS, DataKind.WEIGHT_DIFF),
    )
    for site in first.sites:
        task = first.take(site)
        assert first.commit(task, first.train(task, DXO(DataKind.WEIGHTS))) == ReturnCode.OK

    second = federation("down")
    second.run(FedAvg(rounds=1))
    assert second.models() == undisturbed.models()


def test_results_that_came_while_the_server_was_down_keep_the_order_of_their_commits(
    federation: Any,
) -> None:
    first = federation()
    first.submit()
    first.context().broadcast("train", DXO(DataKind.WEIGHTS))
    order = ["site-3", "site-1", "site-2"]
    for site in order:
        first.commit(first.take(site), DXO(DataKind.METRICS, {"loss": 1.0}))

    for _ in range(2):  # as they are found, and as they were journaled
        gathering = federation().context().broadcast("train", DXO(DataKind.WEIGHTS))
        assert [result.site for result in gathering] == order


def test_a_failure_is_the_same_failure_after_a_restart(federation: Any) -> None:
    def gathered(server: Any) -> list[tuple[str, str, str]]:
        gathering = server.context().broadcast("train", DXO(DataKind.WEIGHTS), timeout=30.0)
        found = [(result.site, result.rc, result.error) for result in gathering]
        assert [result.site for result in gathering.failed] == ["site-1", "site-2"]
        return found

    def fail_on_the_first(task: Any, model: DXO) -> Any:
        if task.site == "site-1":
            return first.Failure(ReturnCode.EXECUTION_EXCEPTION, "out of memory")
        return DXO(DataKind.METRICS, {"loss": 0.5})

    first = federation("server", train=fail_on_the_first)
    first.silent = {"site-2"}
    first.submit()
    live = gathered(first)
    assert live[0] == ("site-1", ReturnCode.EXECUTION_EXCEPTION, "out of memory")
    assert live[2][:2] == ("site-2", ReturnCode.TASK_TIMEOUT)

    assert gathered(federation("server")) == live


def test_a_deadline_is_not_begun_anew_by_a_restart(federation: Any) -> None:
    first = federation("server")
    first.silent = set(first.sites)
    first.submit()
    first.context().broadcast("train", DXO(DataKind.WEIGHTS), timeout=30.0)

    second = federation("server", clock=first.clock)
    second.silent = set(first.sites)
    first.clock.now += 29.0
    results = list(second.context().broadcast("train", DXO(DataKind.WEIGHTS), timeout=30.0))
    assert {result.rc for result in results} == {ReturnCode.TASK_TIMEOUT}
    assert second.clock.now == pytest.approx(1_000_030.0)


def test_a_run_that_makes_another_call_than_before_is_told_which(federation: Any) -> None:
    first = federation()
    first.submit()
    first.context().broadcast("train", DXO(DataKind.WEIGHTS))

    with pytest.raises(
        NotReplayableError, match=r"step 0 of job job-1 was broadcast\(name='train'"
    ):
        federation().context().broadcast("evaluate", DXO(DataKind.WEIGHTS))


def test_a_run_that_computes_other_numbers_than_before_is_told(federation: Any) -> None:
    first = federation()
    first.submit()
    first.context().broadcast("train", DXO(DataKind.WEIGHTS, {"w": np.zeros(3)}))

    with pytest.raises(NotReplayableError, match="take the time, random choices"):
        federation().context().broadcast("train", DXO(DataKind.WEIGHTS, {"w": np.ones(3)}))


def test_the_sites_of_a_replayed_broadcast_are_those_that_were_asked(federation: Any) -> None:
    first = federation()
    first.submit()
    list(first.context().broadcast("train", DXO(DataKind.WEIGHTS)))

    later = federation()
    later.store.set_site_state("job-1", "site-2", SiteState.FAILED, "the disk died")
    gathering = later.context().broadcast("train", DXO(DataKind.WEIGHTS))
    assert [result.site for result in gathering] == ["site-1", "site-2", "site-3"]


def trained(task: Any, model: DXO) -> DXO:
    """What a site does: it trains, or scores the model that it is given, or hands in its own."""
    number = int(task.site[-1])
    if task.name == "submit_model":
        return DXO(DataKind.WEIGHTS, {"w": np.full((3, 4), number, np.float32)})
    scores = {"mean": float(np.mean(model.data["w"])) if model.data else 0.0, "site": number}
    if task.name == "validate":
        return DXO(DataKind.METRICS, scores)
    weights = model.data or {"w": np.zeros((3, 4), np.float32), "b": np.zeros(4, np.float32)}
    random = np.random.default_rng(number)
    moved = {
        name: (value * 0.9 + random.normal(size=value.shape)).astype(value.dtype)
        for name, value in weights.items()
    }
    meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: 10 * number, MetaKey.INITIAL_METRICS: scores}
    return DXO(DataKind.WEIGHTS, moved, meta)


def tasks_of(server: Any) -> list[tuple[str, str, str, TaskState]]:
    """Every task that the job ever had and what became of it."""
    newest = server.store.newest_step("job-1")
    return [
        (task.id, task.rc, task.result_blob.digest if task.result_blob else "", task.state)
        for number in range(newest.number + 1)
        for task in server.store.step_tasks("job-1", number)
    ]
