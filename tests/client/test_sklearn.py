"""scikit-learn's parameters: there before the first fit, out and in, and refused by name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier

from federant.client.sklearn import (
    ParameterMismatchError,
    initialise,
    load_parameters,
    parameters_of,
    with_all_classes,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "LogisticRegression": lambda: LogisticRegression(warm_start=True, max_iter=1000),
    "Perceptron": Perceptron,
    "RidgeClassifier": RidgeClassifier,
    "LinearSVC": LinearSVC,
    "SGDClassifier": lambda: SGDClassifier(loss="log_loss", random_state=0),
    "MLPClassifier": lambda: MLPClassifier((6, 4), random_state=0),
    "MLPClassifier by SGD": lambda: MLPClassifier((6,), solver="sgd", random_state=0),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "LinearRegression": LinearRegression,
    "Ridge": Ridge,
    "Ridge through the origin": lambda: Ridge(fit_intercept=False),
    "Lasso": lambda: Lasso(warm_start=True),
    "ElasticNet": lambda: ElasticNet(warm_start=True),
    "LinearSVR": LinearSVR,
    "SGDRegressor": lambda: SGDRegressor(random_state=0),
    "MLPRegressor": lambda: MLPRegressor(hidden_layer_sizes=(6,), random_state=0),
}
BY_STEPS = ["Perceptron", "SGDClassifier", "MLPClassifier", "MLPClassifier by SGD"]


def points(count: int = 60, features: int = 5) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, features))


def three_kinds(x: np.ndarray) -> np.ndarray:
    return np.digitize(x[:, 0] + x[:, 1], [-0.5, 0.5])


def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


# ---- before the first fit -------------------------------------------------------------------


@pytest.mark.parametrize("classes", [[0, 1], [0, 1, 2], ["benign", "malign", "unknown"]])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_has_the_parameters_of_a_fitted_one_before_its_first_fit(
    name: str, classes: list[Any]
) -> None:
    new = initialise(CLASSIFIERS[name](), 5, classes)
    x = points()
    fitted = clone(new)
    fitted.fit(x, np.array(classes)[three_kinds(x) % len(classes)])
    ours, theirs = parameters_of(new), parameters_of(fitted)
    assert list(new.classes_) == classes
    assert {key: (value.shape, value.dtype) for key, value in ours.items()} == {
        key: (value.shape, value.dtype) for key, value in theirs.items()
    }
    assert new.predict(x).shape == (60,)


@pytest.mark.parametrize("targets", [None, 3])
@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_has_the_parameters_of_a_fitted_one_before_its_first_fit(
    name: str, targets: int | None
) -> None:
    if targets and name in ("LinearSVR", "SGDRegressor"):
        pytest.skip("predicts one number only")
    new = initialise(REGRESSORS[name](), 5, targets=targets)
    x = points()
    fitted = clone(new)
    fitted.fit(x, x[:, 0] if targets is None else x[:, :targets])
    ours, theirs = parameters_of(new), parameters_of(fitted)
    assert {key: (value.shape, value.dtype) for key, value in ours.items()} == {
        key: (value.shape, value.dtype) for key, value in theirs.items()
    }
    assert np.shape(new.predict(x)) == np.shape(fitted.predict(x))


def test_linear_models_begin_with_zeros() -> None:
    parameters = parameters_of(initialise(SGDClassifier(), 5, range(3)))
    assert list(parameters) == ["coef_", "intercept_"]
    assert not any(value.any() for value in parameters.values())


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPClassifier by SGD"])
def test_a_network_trains_from_there_as_if_it_had_not_been_initialised(name: str) -> None:
    x = points()
    initialised, plain = initialise(CLASSIFIERS[name](), 5, range(3)), CLASSIFIERS[name]()
    before = parameters_of(initialised)
    for _ in range(3):
        initialised.partial_fit(x, three_kinds(x))
        plain.partial_fit(x, three_kinds(x), classes=range(3))
    assert not equal(parameters_of(initialised), before)
    # The order of the examples is drawn from the same numbers, one draw later.
    for key, value in parameters_of(plain).items():
        np.testing.assert_allclose(parameters_of(initialised)[key], value, atol=0.02)
    assert initialised.learning_rate_init == plain.learning_rate_init


def test_sites_that_initialise_a_network_alike_begin_with_the_same_weights() -> None:
    first, second = (initialise(MLPClassifier((4,), random_state=3), 5, range(3)) for _ in range(2))
    assert equal(parameters_of(first), parameters_of(second))
    assert list(parameters_of(first)) == ["coefs_.0", "coefs_.1", "intercepts_.0", "intercepts_.1"]


def test_the_dtype_of_the_data_to_come_can_be_named() -> None:
    x = points().astype(np.float32)
    model = initialise(SGDClassifier(random_state=0), 5, range(3), dtype=np.float32)
    assert parameters_of(model)["coef_"].dtype == np.float32
    model.partial_fit(x, three_kinds(x))
    assert parameters_of(model)["coef_"].dtype == np.float32


@pytest.mark.parametrize("name", BY_STEPS)
def test_a_site_that_lacks_a_class_trains_a_model_with_all_of_them(name: str) -> None:
    x = points()
    some = three_kinds(x) < 2
    model = initialise(CLASSIFIERS[name](), 5, range(3))
    shapes = {key: value.shape for key, value in parameters_of(model).items()}
    model.partial_fit(x[some], three_kinds(x)[some])
    assert {key: value.shape for key, value in parameters_of(model).items()} == shapes


def test_fit_knows_all_classes_by_rows_without_weight() -> None:
    x = points()
    some = three_kinds(x) < 2
    model = initialise(LogisticRegression(warm_start=True, max_iter=1000), 5, range(3))
    filled = with_all_classes(model, x[some], three_kinds(x)[some])
    assert [len(part) for part in filled] == [some.sum() + 1] * 3
    model.fit(*filled)
    assert parameters_of(model)["coef_"].shape == (3, 5)
    assert set(model.predict(x)) <= {0, 1}


def test_rows_without_weight_change_no_text_and_keep_given_weights() -> None:
    model = initialise(LogisticRegression(), 2, ["a", "bb", "ccc"])
    _, labels, weights = with_all_classes(model, np.ones((2, 2)), np.array(["a", "bb"]), [2.0, 3.0])
    assert list(labels) == ["a", "bb", "ccc"]
    assert list(weights) == [2.0, 3.0, 0.0]


def test_an_estimator_that_does_not_know_its_classes_cannot_be_given_rows_for_them() -> None:
    with pytest.raises(ValueError, match="does not know its classes yet; make it by initialise"):
        with_all_classes(LogisticRegression(), np.ones((2, 2)), np.array([0, 1]))


# ---- out and in -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifiers_parameters_make_another_predict_alike(name: str) -> None:
    x = points()
    trained = initialise(CLASSIFIERS[name](), 5, range(3))
    trained.fit(x, three_kinds(x))
    other = initialise(CLASSIFIERS[name](), 5, range(3))
    load_parameters(other, parameters_of(trained))
    assert equal(parameters_of(other), parameters_of(trained))
    np.testing.assert_array_equal(other.predict(x), trained.predict(x))


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressors_parameters_make_another_predict_alike(name: str) -> None:
    x = points()
    trained = initialise(REGRESSORS[name](), 5)
    trained.fit(x, x[:, 0] - x[:, 2])
    other = initialise(REGRESSORS[name](), 5)
    load_parameters(other, parameters_of(trained))
    np.testing.assert_array_equal(other.predict(x), trained.predict(x))


def test_what_was_read_does_not_change_while_the_model_trains_on() -> None:
    x = points()
    model = initialise(SGDClassifier(random_state=0), 5, range(3))
    kept = parameters_of(model)
    model.partial_fit(x, three_kinds(x))
    assert not any(value.any() for value in kept.values())


def test_training_leaves_what_was_loaded_alone() -> None:
    x = points()
    received = parameters_of(initialise(SGDClassifier(), 5, range(3)))
    model = initialise(SGDClassifier(random_state=0), 5, range(3))
    load_parameters(model, received)
    model.partial_fit(x, three_kinds(x))
    assert not any(value.any() for value in received.values())


@pytest.mark.parametrize(
    "model",
    [
        SGDClassifier(learning_rate="constant", eta0=1e-6, random_state=0),
        MLPClassifier((4,), random_state=0),
    ],
)
def test_partial_fit_goes_on_from_what_was_loaded(model: Any) -> None:
    x = points()
    initialise(model, 5, range(3))
    far = {key: value + 100 for key, value in parameters_of(model).items()}
    load_parameters(model, far)
    model.partial_fit(x, three_kinds(x))
    assert all((value > 90).all() for value in parameters_of(model).values())
    assert not equal(parameters_of(model), far)


def test_a_warm_start_goes_on_from_what_was_loaded() -> None:
    x = points()
    best = initialise(LogisticRegression(warm_start=True, max_iter=1000), 5, range(3))
    best.fit(x, three_kinds(x))
    model = initialise(LogisticRegression(warm_start=True, max_iter=1000), 5, range(3))
    load_parameters(model, parameters_of(best))
    model.fit(x, three_kinds(x))
    assert model.n_iter_.max() < best.n_iter_.max()


@pytest.mark.parametrize(
    ("estimator", "why"),
    [
        (LogisticRegression(), "a LogisticRegression with warm_start=False"),
        (Lasso(), "a Lasso with warm_start=False"),
        (
            LogisticRegression(warm_start=True, solver="liblinear"),
            'a LogisticRegression with solver="liblinear"',
        ),
    ],
    ids=["not warm", "a Lasso", "liblinear"],
)
def test_an_estimator_whose_fit_will_forget_what_was_loaded_is_warned_of(
    estimator: Any, why: str
) -> None:
    model = initialise(estimator, 5, range(2) if is_classifier(estimator) else None)
    with pytest.warns(UserWarning, match=f"{why} begins anew in each fit"):
        load_parameters(model, parameters_of(model))


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_model_without_parameters_leaves_the_estimator_as_it_is(nothing: Any) -> None:
    model = initialise(MLPClassifier((4,), random_state=0), 5, range(3))
    before = parameters_of(model)
    load_parameters(model, nothing)
    assert equal(parameters_of(model), before)


# ---- refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [DecisionTreeClassifier(), RandomForestClassifier(), SVC(kernel="rbf"), StandardScaler()],
)
@pytest.mark.parametrize("call", [parameters_of, lambda it: initialise(it, 5, range(3))])
def test_what_has_no_mean_is_refused_with_what_works(estimator: Any, call: Any) -> None:
    with pytest.raises(TypeError, match=r"has no parameters .* mean; .*MLPClassifier.*SGDRegr"):
        call(estimator)


def test_of_a_pipeline_the_last_step_is_to_be_passed() -> None:
    pipeline = make_pipeline(StandardScaler(), SGDClassifier())
    with pytest.raises(TypeError, match="Of a Pipeline, pass the last step"):
        load_parameters(pipeline, {})


def test_an_average_that_training_does_not_start_from_is_refused() -> None:
    with pytest.raises(TypeError, match=r"average=10 .* set average=False"):
        initialise(SGDClassifier(average=10), 5, range(3))


def test_an_estimator_that_has_not_been_initialised_says_how() -> None:
    for model in (SGDClassifier(), MLPRegressor(), Ridge()):
        with pytest.raises(ValueError, match=r"has no parameters yet; make it by initialise\("):
            parameters_of(model)


def test_sparse_coefficients_are_refused() -> None:
    model = initialise(SGDClassifier(), 5, range(3)).sparsify()
    with pytest.raises(ValueError, match="sparse coefficients; call its densify"):
        parameters_of(model)


def test_parameters_of_another_shape_are_refused_by_name_and_change_nothing() -> None:
    model = initialise(LogisticRegression(), 5, range(3))
    before = parameters_of(model)
    with pytest.raises(ParameterMismatchError) as caught:
        load_parameters(model, {"coef_": np.ones((2, 5)), "intercept_": np.ones(3)})
    assert caught.value.misfits == {"coef_": "has shape (3, 5) here, (2, 5) in the received model"}
    assert "with all the classes of the federation" in str(caught.value)
    assert equal(parameters_of(model), before)


def test_parameters_of_another_model_are_refused_by_name() -> None:
    model = initialise(LogisticRegression(), 5, range(3))
    with pytest.raises(ParameterMismatchError, match="it lacks 'intercept_'; it has 'bias'") as it:
        load_parameters(model, {"coef_": np.ones((3, 5)), "bias": np.ones(3)})
    assert (it.value.missing, it.value.unexpected) == (("intercept_",), ("bias",))


@pytest.mark.parametrize("classes", [None, [], [1]])
def test_a_classifier_needs_all_its_classes(classes: Any) -> None:
    with pytest.raises(ValueError, match="needs all the classes of the federation, two or more"):
        initialise(LogisticRegression(), 5, classes)


def test_classes_and_targets_belong_to_their_kind_of_estimator() -> None:
    with pytest.raises(ValueError, match="Ridge predicts numbers: it takes no classes"):
        initialise(Ridge(), 5, [0, 1])
    with pytest.raises(ValueError, match="tells classes apart: it takes classes, no targets"):
        initialise(LogisticRegression(), 5, [0, 1], targets=2)
    with pytest.raises(ValueError, match="n_features must be 1 or more, got 0"):
        initialise(Ridge(), 0)
