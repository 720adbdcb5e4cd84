"""The parameters of scikit-learn's linear models and MLPs: out, in, and before the first fit.

Nothing here trains or talks to anyone. Three calls turn a script into a site's trainer:

    initialise(model, n_features=64, classes=range(10))  # round 0's model, alike on every site
    load_parameters(model, task.data.data)
    ... model.partial_fit(X, y) ...                      # goes on from what was loaded
    result = parameters_of(model)

What goes on from the parameters that were loaded:

- ``partial_fit`` of SGDClassifier, SGDRegressor, Perceptron, MLPClassifier and MLPRegressor: one
  pass over the data a call. Use this where you can.
- ``fit`` of LogisticRegression, Lasso, ElasticNet and the above with ``warm_start=True``;
  ``max_iter`` says how far from the global model a round may lead.
- LinearRegression, Ridge, RidgeClassifier, LinearSVC and LinearSVR begin anew in each ``fit``: the
  mean of the sites' models is found in one round, and further ones do not change it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from federant.client.fitting import ParameterMismatchError, require_fit

try:
    from sklearn.base import is_classifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import (
        ElasticNet,
        LinearRegression,
        LogisticRegression,
        Perceptron,
        Ridge,
        RidgeClassifier,
        SGDClassifier,
        SGDRegressor,
    )
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.svm import LinearSVC, LinearSVR
except ModuleNotFoundError as error:
    missing = (error.name or "sklearn").partition(".")[0]
    raise ModuleNotFoundError(
        f"federant.client.sklearn needs {missing}, which is not installed: "
        "pip install 'federant[sklearn]'",
        name=error.name,
    ) from error

__all__ = [
    "ParameterMismatchError",
    "initialise",
    "load_parameters",
    "parameters_of",
    "with_all_classes",
]

Estimator = TypeVar("Estimator")

_LINEAR: Final = (
    ElasticNet,
    LinearRegression,
    LinearSVC,
    LinearSVR,
    LogisticRegression,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
_NETWORKS: Final = (MLPClassifier, MLPRegressor)

_ADVICE: Final = (
    "make it by initialise(estimator, n_features, classes), alike on every site, with all the "
    "classes of the federation"
)


def initialise(
    estimator: Estimator,
    n_features: int,
    classes: ArrayLike | None = None,
    *,
    targets: int | None = None,
    dtype: DTypeLike = np.float64,
) -> Estimator:
    """Gives the estimator its parameters before it has seen data, and returns it.

    Linear models begin with zeros, MLPs with the weights that their ``random_state`` draws.
    ``classes`` are all classes of the federation, also those that this site has no example of; only
    classifiers take them. ``targets`` is how many numbers a regression predicts where ``y`` has two
    dimensions. ``dtype`` is that of the ``X`` to come, float64 or float32.

    TypeError for an estimator without parameters that can be averaged; ValueError for classes that
    are missing, fewer than two, or too many.
    """
    _require_averageable(estimator)
    if n_features < 1:
        raise ValueError(f"n_features must be 1 or more, got {n_features}")
    examples = _one_example_each(estimator, classes, targets)
    nothing = np.zeros((len(examples), n_features), dtype)
    if isinstance(estimator, _NETWORKS):
        _draw(estimator, nothing, examples)
        return estimator
    _fit_quietly(estimator, nothing, examples)
    for name, value in _named(estimator).items():
        _set(estimator, name, np.zeros_like(value))
    if isinstance(estimator, SGDClassifier | SGDRegressor | Perceptron):
        estimator.t_ = 1.0  # the learning rate's schedule has not begun
    return estimator


def parameters_of(estimator: object) -> dict[str, NDArray[Any]]:
    """Copies of the estimator's parameters by name.

    Of a linear model ``coef_`` and ``intercept_``, of an MLP ``coefs_.0``, ``intercepts_.0``, ...
    of each layer, with the shapes and dtypes that they have in the estimator.

    TypeError for an estimator without parameters that can be averaged; ValueError for one that has
    none yet.
    """
    _require_averageable(estimator)
    return {name: np.array(value) for name, value in _named(estimator).items()}


def load_parameters(estimator: object, params: Mapping[str, ArrayLike] | None) -> None:
    """Puts a received model into the estimator: copies, of the estimator's own dtypes.

    A model without any parameters (None, ``{}``) loads nothing: it is what the first round of a job
    without an initial model brings, and each trainer begins with its own.

    A UserWarning tells of an estimator that could go on from them, but begins anew in each ``fit``
    as it is set up.

    ParameterMismatchError, with nothing changed, if it does not fit; TypeError for an estimator
    without parameters that can be averaged; ValueError for one that has none yet.
    """
    _require_averageable(estimator)
    if not params:
        return
    ours = _named(estimator)
    shapes = {name: value.shape for name, value in ours.items()}
    require_fit(shapes, params, model=type(estimator).__name__, advice=_ADVICE)
    for name, value in ours.items():
        _set(estimator, name, np.array(params[name], value.dtype, order="C"))
    if why := _forgets(estimator):
        warnings.warn(
            f"a {type(estimator).__name__} with {why} begins anew in each fit, so it forgets the "
            "parameters that are loaded here, and no round goes on from the one before; make it "
            "with warm_start=True and, of the solvers, not liblinear",
            UserWarning,
            stacklevel=2,
        )


def with_all_classes(
    estimator: object,
    X: ArrayLike,  # noqa: N803 - as scikit-learn calls it
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """``X``, ``y`` and ``sample_weight`` for a ``fit`` that is to know all the classes.

    ``fit`` takes the classes from ``y``, so that a site which lacks one gets a model of another
    shape. This adds a row of weight 0 for each class that the estimator was initialised with and
    ``y`` lacks: ``model.fit(*with_all_classes(model, X, y))``. ``partial_fit`` has no need of it.
    """
    features, labels = np.asarray(X), np.asarray(y)
    weights = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight)
    known = getattr(estimator, "classes_", None)
    if known is None:
        raise ValueError(
            f"this {type(estimator).__name__} does not know its classes yet; {_ADVICE}"
        )
    lacking = np.setdiff1d(known, labels)
    nothing = np.zeros((len(lacking), *features.shape[1:]), features.dtype)
    return (
        np.concatenate([features, nothing]),
        np.concatenate([labels, lacking]),
        np.concatenate([weights, np.zeros(len(lacking))]),
    )


def _forgets(estimator: Any) -> str:
    """The setting by which each fit begins anew, though it could go on; empty if there is none."""
    if not isinstance(estimator, LogisticRegression | ElasticNet):  # a Lasso is an ElasticNet
        return ""
    if not estimator.warm_start:
        return "warm_start=False"
    return 'solver="liblinear"' if getattr(estimator, "solver", "") == "liblinear" else ""


def _require_averageable(estimator: object) -> None:
    kind = type(estimator).__name__
    if not isinstance(estimator, _LINEAR + _NETWORKS):
        works = ", ".join(sorted(each.__name__ for each in _LINEAR + _NETWORKS))
        raise TypeError(
            f"a {kind} has no parameters of which there is a mean; these have: {works}, and what "
            "is derived from them. Of a Pipeline, pass the last step; for trees, see the workflow "
            "tree_bagging with federant.client.xgboost"
        )
    if isinstance(estimator, SGDClassifier | SGDRegressor) and estimator.average:
        raise TypeError(
            f"a {kind} with average={estimator.average!r} trains weights that it does not show; "
            "set average=False: the federation takes a mean each round anyway"
        )


def _fit_quietly(estimator: Any, examples: NDArray[Any], targets: NDArray[Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(examples, targets)


def _named(estimator: Any) -> dict[str, NDArray[Any]]:
    if isinstance(estimator, _NETWORKS):
        if not hasattr(estimator, "coefs_"):
            raise _no_parameters(estimator)
        layers = {"coefs_": estimator.coefs_, "intercepts_": estimator.intercepts_}
        return {f"{name}.{at}": value for name in layers for at, value in enumerate(layers[name])}
    # A warm start that failed leaves None behind.
    if getattr(estimator, "coef_", None) is None:
        raise _no_parameters(estimator)
    if not isinstance(estimator.coef_, np.ndarray):
        raise ValueError(
            f"this {type(estimator).__name__} has sparse coefficients; call its densify() first"
        )
    return {"coef_": estimator.coef_, "intercept_": np.asarray(estimator.intercept_)}


def _no_parameters(estimator: object) -> ValueError:
    return ValueError(f"this {type(estimator).__name__} has no parameters yet; {_ADVICE}")


def _set(estimator: object, name: str, value: NDArray[Any]) -> None:
    attribute, _, layer = name.partition(".")
    if layer:
        getattr(estimator, attribute)[int(layer)] = value
    else:
        # With one number for an intercept, the estimators have a scalar.
        setattr(estimator, attribute, value if value.ndim else value[()])


def _one_example_each(
    estimator: object, classes: ArrayLike | None, targets: int | None
) -> NDArray[Any]:
    """A ``y`` that has everything in it which decides about the shapes."""
    kind = type(estimator).__name__
    if not is_classifier(estimator):
        if classes is not None:
            raise ValueError(f"a {kind} predicts numbers: it takes no classes, only targets")
        return np.zeros(2) if targets is None else np.zeros((2, targets))
    if targets is not None:
        raise ValueError(f"a {kind} tells classes apart: it takes classes, no targets")
    found = np.unique(np.asarray(classes if not isinstance(classes, Sequence) else list(classes)))
    if classes is None or len(found) < 2:
        raise ValueError(
            f"a {kind} needs all the classes of the federation, two or more; got {classes!r}"
        )
    return found


def _draw(network: Any, nothing: NDArray[Any], examples: NDArray[Any]) -> None:
    """Lets an MLP draw its weights by a first step that is too small to change them."""
    rate = network.learning_rate_init
    network.set_params(learning_rate_init=np.finfo(np.float64).tiny)
    try:
        if is_classifier(network):
            network.partial_fit(nothing, examples, classes=examples)
        else:
            network.partial_fit(nothing, examples)
    finally:
        network.set_params(learning_rate_init=rate)
    # It has that step's rate and momentum; without it the next partial_fit makes a new one.
    vars(network).pop("_optimizer", None)
    network.t_ = 0
