"""FedAvg and Cyclic: the model that comes out is the one the algorithm says."""

import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from federant.codec import TorchArray
from federant.exchange import DXO, DataKind, MetaKey, ReturnCode
from federant.link.messages import SiteState
from federant.server.aggregation.numbers import LARGEST
from federant.server.workflow import Cyclic, FedAvg, TooFewSitesError, Workflow

STEPS = MetaKey.NUM_STEPS_CURRENT_ROUND
WEIGHTS = {"site-1": 1.0, "site-2": 2.0, "site-3": 5.0}


def initial() -> DXO:
    return DXO(DataKind.WEIGHTS, {"w": np.full(3, 10.0, np.float32), "batches": np.int64(4)})


def examples(site: str) -> dict[str, float]:
    return {STEPS: WEIGHTS[site]}


def add(site: str, model: DXO) -> dict[str, Any]:
    """Each site adds its number."""
    return {"w": model.data["w"] + np.float32(site[-1]), "batches": model.data["batches"] + 4}


def whole(task: Any, model: DXO) -> DXO:
    return DXO(DataKind.WEIGHTS, add(task.site, model), examples(task.site))


def difference(task: Any, model: DXO) -> DXO:
    change = {"w": np.full(3, float(task.site[-1]), np.float32), "batches": np.int64(4)}
    return DXO(DataKind.WEIGHT_DIFF, change, examples(task.site))


def mixed(task: Any, model: DXO) -> DXO:
    return whole(task, model) if task.site == "site-2" else difference(task, model)


@pytest.mark.parametrize("train", [whole, difference, mixed])
def test_the_new_model_is_the_mean_weighted_by_examples(federation: Any, train: Any) -> None:
    server = federation(train=train)
    server.submit(initial())
    server.run(FedAvg(rounds=2))
    model = server.model()
    step = (1 * 1 + 2 * 2 + 5 * 3) / 8
    np.testing.assert_allclose(model.data["w"], np.full(3, 10 + 2 * step), rtol=1e-6)
    assert model.data["w"].dtype == np.float32
    assert model.data["batches"] == 12
    assert model.data_kind == DataKind.WEIGHTS


def test_weights_of_bfloat16_from_torch_stay_what_they_are(federation: Any) -> None:
    def train(task: Any, model: DXO) -> DXO:
        assert all(type(array) is TorchArray for array in model.data.values())
        # What a script with PyTorch sends; a mean in bfloat16 would lose the 2**-8.
        step = np.full(2, 1 + float(task.site[-1]) * 2.0**-8, ml_dtypes.bfloat16)
        return DXO(DataKind.WEIGHTS, {"w": (model.data["w"] + step).view(TorchArray)})

    server = federation(train=train)
    server.submit(DXO(DataKind.WEIGHTS, {"w": np.zeros(2, ml_dtypes.bfloat16).view(TorchArray)}))
    server.run(FedAvg(rounds=1))
    found = server.model().data["w"]
    assert type(found) is TorchArray
    assert found.dtype == ml_dtypes.bfloat16
    steps = [1, 1 + 2 * 2.0**-8, 1 + 4 * 2.0**-8]  # as bfloat16 has them
    assert found.tolist() == [np.float64(np.mean(steps)).astype(ml_dtypes.bfloat16)] * 2


def test_arrays_of_which_there_is_no_mean_are_refused_by_name(federation: Any) -> None:
    def train(task: Any, model: DXO) -> DXO:
        return DXO(DataKind.WEIGHTS, {"w": np.zeros(2), "classes": np.array(["cat", "dog"])})

    server = federation(train=train)
    server.submit()
    with pytest.raises(TooFewSitesError, match="'classes' is an array of dtype <U3, of which"):
        server.run(FedAvg(rounds=1))


def test_each_rounds_model_is_kept(federation: Any) -> None:
    server = federation()
    server.submit()
    server.run(FedAvg(rounds=3))
    kept = server.store.models("job-1")
    assert [model.round for model in kept] == [0, 1, 2]
    assert kept[0].metrics == {"sites": 3, "weight": 60.0}
    assert len({model.blob.digest for model in kept}) == 3


def test_scores_of_the_model_that_a_round_begins_with_are_averaged_and_shown(
    federation: Any,
) -> None:
    def train(task: Any, model: DXO) -> DXO:
        result = whole(task, model)
        if task.site != "site-3":
            result.meta[MetaKey.INITIAL_METRICS] = {"accuracy": float(task.site[-1]), "note": "ok"}
        return result

    server = federation(train=train)
    server.submit(initial())
    server.run(FedAvg(rounds=2))
    mean = (1 * 1.0 + 2 * 2.0) / 3
    assert [model.metrics["initial_metrics"] for model in server.store.models("job-1")] == [
        {"accuracy": pytest.approx(mean)},
        {"accuracy": pytest.approx(mean)},
    ]
    shown = [
        (event.tag, event.value, event.step)
        for event in server.store.events("job-1")
        if event.kind == "METRIC"
    ]
    assert shown == [
        ("initial_metrics/accuracy", pytest.approx(mean), 0),
        ("initial_metrics/accuracy", pytest.approx(mean), 1),
    ]


def test_trainers_are_told_what_to_return(federation: Any) -> None:
    told: list[Any] = []

    def train(task: Any, model: DXO) -> DXO:
        told.append(task.headers.get("transfer_type"))
        return difference(task, model) if model.data else DXO(DataKind.WEIGHTS, initial().data)

    server = federation(train=train, sites=("site-1",))
    server.submit()
    server.run(FedAvg(rounds=2, transfer="DIFF"))
    assert told == [None, "DIFF"]  # from no model there is no difference
    np.testing.assert_allclose(server.model().data["w"], 11)


def test_without_an_initial_model_the_trainers_get_an_empty_one(federation: Any) -> None:
    seen: list[int] = []

    def train(task: Any, model: DXO) -> DXO:
        seen.append(len(model.data))
        return DXO(DataKind.WEIGHTS, {"w": np.ones(2)})

    server = federation(train=train)
    server.submit()
    server.run(FedAvg(rounds=2))
    assert seen == [0, 0, 0, 1, 1, 1]


def test_a_site_that_fails_is_left_out_and_the_round_goes_on(federation: Any) -> None:
    def train(task: Any, model: DXO) -> Any:
        if task.site == "site-3":
            return server.Failure(ReturnCode.TRAINER_DIED, "killed by SIGKILL")
        return whole(task, model)

    server = federation(train=train)
    server.submit(initial())
    server.run(FedAvg(rounds=1, min_sites=2))
    np.testing.assert_allclose(server.model().data["w"], 10 + (1 * 1 + 2 * 2) / 3, rtol=1e-6)


def test_a_result_that_is_refused_does_not_touch_the_model(federation: Any) -> None:
    def train(task: Any, model: DXO) -> DXO:
        result = whole(task, model)
        if task.site == "site-2":
            result.data["w"][0] = np.nan
        return result

    server = federation(train=train)
    server.submit(initial())
    server.run(FedAvg(rounds=1))
    assert np.isfinite(server.model().data["w"]).all()
    np.testing.assert_allclose(server.model().data["w"], 10 + (1 * 1 + 5 * 3) / 6, rtol=1e-6)


def test_no_result_that_fits_no_mean_touches_the_model_or_fails_the_job(federation: Any) -> None:
    single, double = np.full(2, 3e38, np.float32), np.full(2, 1e200)
    model = {"single": single, "double": double, "count": 3, "note": None}
    bad = [
        DXO(DataKind.WEIGHTS, {**model, "double": np.full(2, 1e300)}, {STEPS: 1e12}),
        DXO(DataKind.WEIGHT_DIFF, model),
        DXO(DataKind.WEIGHTS, {**model, "count": 10**30}),
        DXO(DataKind.WEIGHTS, {**model, "note": np.zeros(2)}),
    ]

    def train(task: Any, _: DXO) -> DXO:
        number = int(task.site[-1])
        return bad[number] if number < len(bad) else DXO(DataKind.WEIGHTS, model, {STEPS: 1e12})

    server = federation(train=train, sites=tuple(f"site-{number}" for number in range(6)))
    server.submit(DXO(DataKind.WEIGHTS, model))
    server.run(FedAvg(rounds=2, min_sites=2))
    np.testing.assert_array_equal(server.model().data["single"], single)
    np.testing.assert_allclose(server.model().data["double"], double)
    assert server.model().data["count"] == 3
    assert [": ".join(text.split(": ")[:2]) for text in server.failures()] == 2 * [
        "site-0: RESULT_NOT_FINITE",
        "site-1: RESULT_NOT_FINITE",
        "site-2: RESULT_WRONG_DTYPE",
        "site-3: RESULT_WRONG_SHAPE",
    ]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8"])
def test_the_mean_of_the_largest_numbers_that_are_taken_is_finite(
    federation: Any, dtype: str
) -> None:
    largest = np.full(3, min(float(np.finfo(dtype).max), LARGEST), dtype)

    def train(task: Any, _: DXO) -> DXO:
        kind, data = (DataKind.WEIGHTS, largest)
        if task.site == "site-1":
            kind, data = (DataKind.WEIGHT_DIFF, largest * 0)
        return DXO(kind, {"w": data}, {STEPS: 1e12})

    server = federation(train=train)
    server.submit(DXO(DataKind.WEIGHTS, {"w": largest}))
    server.run(FedAvg(rounds=1, min_sites=3))
    np.testing.assert_array_equal(server.model().data["w"], largest)


def test_a_round_with_fewer_good_results_than_min_sites_fails_the_job(federation: Any) -> None:
    server = federation(train=lambda *_: server.Failure(ReturnCode.TRAINER_DIED, "status 1"))
    server.submit(initial())
    words = r"0 of 3 sites .* 'train' in round 1 of 2 and 1 are .*site-1: TRAINER_DIED: status 1"
    with pytest.raises(TooFewSitesError, match=words):
        server.run(FedAvg(rounds=2))


def test_every_round_is_told_with_whom_it_asks_and_how_many_results_came(federation: Any) -> None:
    def train(task: Any, model: DXO) -> Any:
        if task.site == "site-2":
            return server.Failure(ReturnCode.TRAINER_DIED, "status 1")
        return whole(task, model)

    server = federation(train=train)
    server.submit(initial())
    server.run(FedAvg(rounds=2))
    assert server.rounds() == [
        "round 1 of 2: train at site-1, site-2, site-3",
        "round 1 of 2: 2 of 3 good results of train",
        "round 2 of 2: train at site-1, site-2, site-3",
        "round 2 of 2: 2 of 3 good results of train",
    ]


def test_a_traceback_stands_on_lines_of_its_own_in_the_jobs_error(federation: Any) -> None:
    trace = "Traceback (most recent call last):\n  File\nValueError: boom\n"
    server = federation(train=lambda *_: server.Failure(ReturnCode.EXECUTION_EXCEPTION, trace))
    server.submit(initial())
    with pytest.raises(TooFewSitesError) as raised:
        server.run(FedAvg(rounds=1))
    told = f"EXECUTION_EXCEPTION:\n{trace.strip()}"
    assert str(raised.value).endswith(f"needed: site-1: {told};\nsite-2: {told};\nsite-3: {told}")


def test_a_round_does_not_wait_longer_than_its_deadline(federation: Any) -> None:
    server = federation(train=whole)
    server.silent = {"site-3"}
    server.submit(initial())
    began = server.clock.now
    server.run(FedAvg(rounds=2, round_timeout=30.0))
    assert server.clock.now - began == pytest.approx(60.0)
    assert len(server.models()) == 2


def test_a_job_does_not_begin_before_its_sites_are_there(federation: Any) -> None:
    server = federation()
    server.silent = {"site-3"}
    server.submit()
    with pytest.raises(TooFewSitesError, match=r"3 sites are needed .*silent: site-3"):
        server.run(FedAvg(min_sites=3, start_timeout=5.0))
    assert server.models() == []


def test_a_site_that_leaves_for_good_is_not_asked_again(federation: Any) -> None:
    server = federation(train=whole)
    server.submit(initial())
    server.store.set_site_state("job-1", "site-2", SiteState.REFUSED, "policy")
    server.run(FedAvg(rounds=1))
    np.testing.assert_allclose(server.model().data["w"], 10 + (1 * 1 + 5 * 3) / 6, rtol=1e-6)


def test_memory_of_a_round_does_not_grow_with_the_number_of_sites(federation: Any) -> None:
    model = DXO(DataKind.WEIGHTS, {"w": np.zeros(1_000_000, np.float32)})

    def train(task: Any, model: DXO) -> DXO:
        return DXO(DataKind.WEIGHTS, {"w": model.data["w"] + np.float32(task.site[5:])})

    def peak(count: int) -> int:
        server = federation(
            f"of-{count}", train=train, sites=tuple(f"site-{number}" for number in range(count))
        )
        server.submit(model)
        tracemalloc.start()
        server.run(FedAvg(rounds=1, min_sites=count))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_allclose(server.model().data["w"][:3], (count - 1) / 2)
        return used

    few, many = peak(3), peak(24)
    assert few > model.data["w"].nbytes  # it was measured at all
    assert many < few + model.data["w"].nbytes


@pytest.mark.parametrize("workflow", [FedAvg(rounds=2), Cyclic(rounds=2)])
def test_a_known_site_that_is_switched_off_holds_no_job_up_that_names_no_sites(
    federation: Any, workflow: Workflow
) -> None:
    server = federation(train=whole, sites=("site-1", "site-2"))
    server.silent = {"site-2"}
    server.submit(initial(), named=False)
    server.run(workflow)
    np.testing.assert_allclose(server.model().data["w"], 12)


def test_a_site_that_comes_later_takes_part_from_the_next_round_on(federation: Any) -> None:
    def train(task: Any, model: DXO) -> DXO:
        server.silent = set()
        return whole(task, model)

    server = federation(train=train)
    server.silent = {"site-3"}
    server.submit(initial(), named=False)
    server.run(FedAvg(rounds=2, min_sites=2))
    assert [model.metrics["sites"] for model in server.store.models("job-1")] == [2, 3]


def test_a_job_that_names_its_sites_begins_without_and_waits_for_those_that_are_not_ready(
    federation: Any,
) -> None:
    seen: list[list[str]] = []

    def train(task: Any, model: DXO) -> DXO:
        parts = server.store.job_sites("job-1")
        seen.append([part.site for part in parts if part.state is SiteState.READY])
        server.silent = set()
        return whole(task, model)

    server = federation(train=train, sites=("site-1", "site-2"))
    server.silent = {"site-2"}
    server.submit(initial())
    server.run(FedAvg(rounds=1, min_sites=1))
    assert seen == [["site-1"], ["site-1", "site-2"]]
    assert [model.metrics["sites"] for model in server.store.models("job-1")] == [2]


@pytest.mark.parametrize("named", [True, False])
def test_the_first_round_waits_for_min_sites(federation: Any, named: bool) -> None:
    seen: list[int] = []

    def train(task: Any, model: DXO) -> DXO:
        states = [part.state for part in server.store.job_sites("job-1")]
        seen.append(states.count(SiteState.READY))
        return whole(task, model)

    server = federation(train=train)
    server.submit(initial(), named=named)
    server.run(FedAvg(rounds=1, min_sites=3))
    assert seen == [3, 3, 3]


def test_cyclic_passes_the_model_from_site_to_site(federation: Any) -> None:
    server = federation(train=whole)
    server.submit(initial())
    server.run(Cyclic(rounds=2, seed=1))
    np.testing.assert_allclose(server.model().data["w"], 10 + 2 * (1 + 2 + 3))


def test_cyclic_draws_the_order_anew_for_each_round(federation: Any) -> None:
    orders: list[list[str]] = [[], [], [], []]

    def train(task: Any, model: DXO) -> DXO:
        orders[task.headers["current_round"]].append(task.site)
        return whole(task, model)

    server = federation(train=train)
    server.submit(initial())
    server.run(Cyclic(rounds=4, seed=3))
    assert all(sorted(order) == ["site-1", "site-2", "site-3"] for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_cyclic_fails_when_too_few_sites_trained(federation: Any) -> None:
    server = federation(train=lambda *_: server.Failure(ReturnCode.TRAINER_DIED))
    server.submit(initial())
    with pytest.raises(TooFewSitesError, match="round 1: 0 sites trained and 1 are needed"):
        server.run(Cyclic(rounds=1))


@pytest.mark.parametrize(
    ("workflow", "error"),
    [
        (FedAvg(rounds=2), "site-1 ended: the site goes down; site-2 pending"),
        (Cyclic(rounds=2), "round 2: 0 sites trained and 1 are needed: no site was ready"),
    ],
)
def test_a_job_fails_once_all_of_its_sites_have_left(
    federation: Any, workflow: Workflow, error: str
) -> None:
    def leave_after_the_first_round(act: int) -> None:
        [first, _] = server.store.job_sites("job-1")
        if server.store.models("job-1") and first.state is SiteState.READY:
            server.store.set_site_state("job-1", "site-1", SiteState.ENDED, "the site goes down")

    server = federation(
        train=whole, sites=("site-1", "site-2"), after_act=leave_after_the_first_round
    )
    server.silent = {"site-2"}
    server.submit(initial(), named=False)
    with pytest.raises(TooFewSitesError, match=error):
        server.run(workflow)
