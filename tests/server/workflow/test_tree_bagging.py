"""Bagging of trees: the booster that comes out has everyone's, and a kill changes no bit of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant.exchange import DXO, DataKind, MetaKey, ReturnCode
from federant.server.boosters import read_booster
from federant.server.workflow import TooFewSitesError, TreeBagging, WorkflowError

STEPS = MetaKey.NUM_STEPS_CURRENT_ROUND


@pytest.fixture
def grow(booster_text: Any) -> Any:
    """Training of a kind: each site grows a tree with its own leaf, and counts its own examples."""

    def train(task: Any, model: DXO, **options: Any) -> DXO:
        number = int(task.site[-1])
        trees = model.get_meta_prop("trees")
        text = booster_text(**{"rounds": trees, "leaf": 1.0 * number, **options})
        return DXO(DataKind.WEIGHTS, {"booster": text}, {STEPS: number})

    return train


def leaves(model: DXO) -> list[float]:
    """The value of each tree's right leaf."""
    return [tree["split_conditions"][2] for tree in read_booster(model.data["booster"]).trees]


def test_the_new_booster_has_the_trees_of_all_sites_by_their_share(
    federation: Any, grow: Any
) -> None:
    server = federation(train=grow)
    server.submit()
    server.run(TreeBagging(rounds=2))
    shares = [1 * 1 / 6, 2 * 2 / 6, 3 * 3 / 6]
    np.testing.assert_allclose(leaves(server.model()), [*shares, *shares], rtol=1e-6)
    assert server.model().data_kind == DataKind.WEIGHTS
    assert isinstance(server.model().data["booster"], bytearray)


def test_each_site_is_told_how_many_trees_to_grow_on_what(federation: Any, grow: Any) -> None:
    told: list[tuple[int, int]] = []

    def train(task: Any, model: DXO) -> DXO:
        trees = read_booster(model.data["booster"]).trees if model.data else []
        told.append((model.get_meta_prop("trees"), len(trees)))
        return grow(task, model)

    server = federation(train=train, sites=("site-1", "site-2"))
    server.submit()
    server.run(TreeBagging(rounds=3, trees=2))
    assert told == [(2, 0), (2, 0), (2, 4), (2, 4), (2, 8), (2, 8)]
    assert [kept.metrics for kept in server.store.models("job-1")] == [
        {"sites": 2, "trees": 4},
        {"sites": 2, "trees": 8},
        {"sites": 2, "trees": 12},
    ]


def test_the_order_in_which_sites_answer_does_not_show(federation: Any, grow: Any) -> None:
    kept = []
    for order in (("site-1", "site-2"), ("site-2", "site-1")):
        server = federation("".join(order), train=grow, sites=order)
        server.submit()
        server.run(TreeBagging(rounds=2))
        kept.append(server.models())
    assert kept[0] == kept[1]


def test_a_job_can_begin_with_a_booster(federation: Any, grow: Any, booster_text: Any) -> None:
    server = federation(train=grow, sites=("site-1",))
    server.submit(DXO(DataKind.WEIGHTS, {"booster": bytes(booster_text(leaf=7.0, rounds=2))}))
    server.run(TreeBagging(rounds=1))
    assert leaves(server.model()) == [7.0, 7.0, 1.0]


def test_a_job_that_begins_with_something_else_fails_at_once(federation: Any, grow: Any) -> None:
    server = federation(train=grow, sites=("site-1",))
    server.submit(DXO(DataKind.WEIGHTS, {"w": np.ones(3)}))
    with pytest.raises(WorkflowError, match=r"no booster .*: .* must have .booster"):
        server.run(TreeBagging(rounds=1))


@pytest.mark.parametrize(
    ("bad", "rc"),
    [
        (b'{"learner":{"gradient_booster":{"name":"gbtree"}}}', ReturnCode.RESULT_UNREADABLE),
        (b"[" * 1_000_000, ReturnCode.RESULT_UNREADABLE),
        ({"features": 9}, ReturnCode.RESULT_WRONG_SHAPE),
        ({"rounds": 5}, ReturnCode.RESULT_WRONG_SHAPE),
        ({"leaf": float("inf")}, ReturnCode.RESULT_NOT_FINITE),
    ],
)
def test_a_hostile_result_is_refused_and_the_round_goes_on_without_it(
    federation: Any, grow: Any, bad: Any, rc: str
) -> None:
    def train(task: Any, model: DXO) -> DXO:
        if task.site != "site-2":
            return grow(task, model)
        if isinstance(bad, dict):
            return grow(task, model, **bad)
        return DXO(DataKind.WEIGHTS, {"booster": bad})

    server = federation(train=train)
    server.submit()
    server.run(TreeBagging(rounds=2, min_sites=2))
    np.testing.assert_allclose(leaves(server.model()), [1 / 4, 9 / 4, 1 / 4, 9 / 4])
    assert [": ".join(text.split(": ")[:2]) for text in server.failures()] == [f"site-2: {rc}"] * 2


def test_of_two_first_results_that_came_at_once_the_later_must_fit(
    federation: Any, grow: Any
) -> None:
    def train(task: Any, model: DXO) -> DXO:
        return grow(task, model, features=int(task.site[-1]) + 2)

    server = federation(train=train, sites=("site-1", "site-2"))
    server.check = False  # neither was there when the other was checked
    server.submit()
    with pytest.raises(TooFewSitesError, match=r"site-2: RESULT_WRONG_SHAPE: .* features are 4"):
        server.run(TreeBagging(rounds=1, min_sites=2))


def test_a_round_with_too_few_good_results_fails_the_job(federation: Any) -> None:
    server = federation(train=lambda *_: server.Failure(ReturnCode.TRAINER_DIED, "status 1"))
    server.submit()
    with pytest.raises(TooFewSitesError, match="0 of 3 sites gave a good result"):
        server.run(TreeBagging(rounds=1))


def test_a_job_killed_after_any_journaled_act_ends_with_the_same_bits(
    federation: Any, tmp_path: Path, grow: Any
) -> None:
    workflow, sites = TreeBagging(rounds=2, trees=2, min_sites=2), ("site-1", "site-2")
    snapshots: list[str] = []

    def keep_what_a_kill_would_leave(act: int) -> None:
        snapshots.append(f"killed-{act}")
        shutil.copytree(tmp_path / "undisturbed", tmp_path / snapshots[-1])

    undisturbed = federation(
        "undisturbed", sites=sites, train=grow, after_act=keep_what_a_kill_would_leave
    )
    undisturbed.submit()
    undisturbed.run(workflow)
    assert len(snapshots) > 10

    for snapshot in snapshots:
        restarted = federation(snapshot, sites=sites, train=grow)
        restarted.run(workflow)
        assert restarted.models() == undisturbed.models(), snapshot
        restarted.close()


def test_what_is_kept_is_what_xgboost_wrote_but_for_the_leaves(
    federation: Any, grow: Any, new_booster: Any
) -> None:
    server = federation(train=grow, sites=("site-1",))
    server.submit()
    server.run(TreeBagging(rounds=1))
    kept = json.loads(server.model().data["booster"])
    assert (
        kept["learner"]["gradient_booster"]["model"]["trees"]
        == (new_booster(leaf=1.0)["learner"]["gradient_booster"]["model"]["trees"])
    )
