"""XGBoost is the judge: boosters that the server has read and joined predict as they should."""

from typing import Any

import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from federant.client.xgboost import boost, load_booster, parameters_of
from federant.server.boosters import Booster, join, read_booster

DIGITS, WHICH = load_digits(return_X_y=True)
TUMOURS, MALIGN = load_breast_cancer(return_X_y=True)
PATIENTS, PROGRESS = load_diabetes(return_X_y=True)
TWO = np.stack([PROGRESS, -PROGRESS], 1)

KINDS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "two classes": ({"objective": "binary:logistic"}, TUMOURS, MALIGN),
    "ten classes": ({"objective": "multi:softprob", "num_class": 10}, DIGITS, WHICH),
    "a forest in each round": (
        {"objective": "binary:logistic", "num_parallel_tree": 3, "subsample": 0.5},
        TUMOURS,
        MALIGN,
    ),
    "pruned trees": (
        {"objective": "binary:logistic", "tree_method": "exact", "gamma": 5},
        TUMOURS,
        MALIGN,
    ),
    "by leaves": (
        {"objective": "binary:logistic", "grow_policy": "lossguide", "max_leaves": 7},
        TUMOURS,
        MALIGN,
    ),
    "numbers": ({"objective": "reg:squarederror"}, PATIENTS, PROGRESS),
    "two numbers": ({"objective": "reg:squarederror"}, PATIENTS, TWO),
    "quantiles": (
        {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]},
        PATIENTS,
        PROGRESS,
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[dict[str, Any], Any, Any]:
    params, inputs, labels = KINDS[request.param]
    return {"max_depth": 4, "nthread": 1, "seed": 3, **params}, inputs, labels


def halves(inputs: Any, labels: Any) -> list[xgboost.DMatrix]:
    """Two sites' data; both have every class."""
    return [xgboost.DMatrix(inputs[at::2], labels[at::2]) for at in range(2)]


def margins(booster: xgboost.Booster, inputs: Any) -> Any:
    return booster.predict(xgboost.DMatrix(inputs), output_margin=True)


def loaded(booster: Booster) -> xgboost.Booster:
    return xgboost.Booster(model_file=booster.text())


def test_a_booster_that_was_read_and_written_predicts_alike(kind: Any) -> None:
    params, inputs, labels = kind
    trained = xgboost.train(params, xgboost.DMatrix(inputs, labels), 3)
    again = loaded(read_booster(trained.save_raw("json"), rounds=3))
    assert again.num_boosted_rounds() == 3
    np.testing.assert_array_equal(margins(again, inputs), margins(trained, inputs))


def test_the_joined_booster_moves_predictions_by_the_mean_of_what_the_sites_would(
    kind: Any,
) -> None:
    params, inputs, labels = kind
    model, joined = None, None
    for _ in range(3):
        grown = [boost(params, data, model, trees=2) for data in halves(inputs, labels)]
        before = None if model is None else load_booster(model)
        alone = [
            xgboost.train(
                params if before else {"base_score": 0.5, **params}, data, 2, xgb_model=before
            )
            for data in halves(inputs, labels)
        ]
        parts = [(read_booster(grown[at]["booster"], rounds=2), 1 + 2 * at) for at in range(2)]
        joined = join(joined, parts)
        model = {"booster": joined.text()}
        # Each site's booster has the margins of the model in it already.
        wanted = (margins(alone[0], inputs) + 3 * margins(alone[1], inputs)) / 4
        found = margins(loaded(joined), inputs)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    assert load_booster(model).num_boosted_rounds() == 12


def test_categorical_columns_numbered_alike_can_be_joined() -> None:
    inputs = np.column_stack([np.arange(400) % 7, np.arange(400) % 3, np.arange(400) / 400])
    labels = np.isin(inputs[:, 0], [1, 4, 5]) ^ (inputs[:, 1] == 2)

    def data(rows: Any) -> xgboost.DMatrix:
        return xgboost.DMatrix(
            inputs[rows], labels[rows], feature_types=["c", "c", "float"], enable_categorical=True
        )

    params = {"objective": "binary:logistic", "max_depth": 3, "max_cat_to_onehot": 1, "nthread": 1}
    model, joined = None, None
    for _ in range(4):
        grown = [boost(params, data(slice(at, None, 2)), model, trees=2) for at in range(2)]
        joined = join(joined, [(read_booster(each["booster"]), 1) for each in grown])
        model = {"booster": joined.text()}
    chances = loaded(joined).predict(data(slice(None)))
    assert ((chances > 0.5) == labels).mean() > 0.95


def test_names_of_features_reach_the_joined_booster() -> None:
    names = [f"größe {number}" for number in range(30)]
    data = xgboost.DMatrix(TUMOURS, MALIGN, feature_names=names)
    grown = boost({"objective": "binary:logistic", "nthread": 1}, data, None)
    assert loaded(join(None, [(read_booster(grown["booster"]), 1)])).feature_names == names


def test_what_the_server_wrote_can_be_trained_on_and_sliced() -> None:
    data = xgboost.DMatrix(TUMOURS, MALIGN)
    first = boost({"objective": "binary:logistic", "nthread": 1}, data, None, trees=2)
    model = {"booster": join(None, [(read_booster(first["booster"]), 1)] * 2).text()}
    more = boost({"objective": "binary:logistic", "nthread": 1}, data, model, trees=3)
    assert load_booster(more).num_boosted_rounds() == 3
    assert read_booster(more["booster"], rounds=3).rounds == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore::UserWarning")  # newer ones warn of dart and gblinear
@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"booster": "dart"}, "of kind 'dart' cannot be joined"),
        ({"booster": "gblinear"}, "of kind 'gblinear' cannot be joined"),
        ({"multi_strategy": "multi_output_tree"}, "multi_strategy='one_output_per_tree'"),
    ],
)
def test_boosters_that_cannot_be_joined_are_refused(params: dict[str, Any], text: str) -> None:
    params = {"nthread": 1, "verbosity": 0, **params}
    trained = xgboost.train(params, xgboost.DMatrix(PATIENTS, TWO), 1)
    with pytest.raises(ValueError, match=text):
        read_booster(trained.save_raw("json"))


def test_the_other_raw_format_is_refused_with_the_one_that_works() -> None:
    trained = xgboost.train({"nthread": 1}, xgboost.DMatrix(PATIENTS, PROGRESS), 1)
    with pytest.raises(ValueError, match=r"save_raw\('json'\)"):
        read_booster(trained.save_raw("ubj"))


def test_parameters_of_leaves_out_the_rounds_before() -> None:
    data = xgboost.DMatrix(PATIENTS, PROGRESS)
    before = xgboost.train({"nthread": 1}, data, 2)
    after = xgboost.train({"nthread": 1}, data, 3, xgb_model=before)
    grown = load_booster(parameters_of(after, since=before.num_boosted_rounds()))
    assert grown.num_boosted_rounds() == 3
    assert load_booster(parameters_of(after)).num_boosted_rounds() == 5


def test_a_booster_without_new_trees_says_so() -> None:
    trained = xgboost.train({"nthread": 1}, xgboost.DMatrix(PATIENTS, PROGRESS), 2)
    with pytest.raises(ValueError, match="has 2 boosting rounds, none after the first 2; train"):
        parameters_of(trained, since=2)


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_job_without_an_initial_model_begins_without_a_booster(nothing: Any) -> None:
    assert load_booster(nothing) is None


@pytest.mark.parametrize("other", [{"w": np.ones(3)}, {"booster": "text"}])
def test_a_model_that_is_no_booster_names_the_workflow(other: Any) -> None:
    with pytest.raises(ValueError, match="run the job with the workflow tree_bagging"):
        load_booster(other)


def test_all_sites_begin_with_the_same_score_where_they_name_none() -> None:
    grown = [boost({"nthread": 1}, data, None) for data in halves(PATIENTS, PROGRESS)]
    first, second = (read_booster(each["booster"]).shape for each in grown)
    assert first.base_score == second.base_score == (0.5,)
