"""XGBoost's boosters out and in, and a round of boosting, for the workflow ``tree_bagging``.

Nothing here talks to anyone. Three lines make a training script a site's trainer:

    for task in agent.tasks():
        grown = boost(params, data, task.data.data, trees=task.data.get_meta_prop("trees", 1))
        agent.submit_result(DXO(DataKind.WEIGHTS, grown, {NUM_STEPS_CURRENT_ROUND: rows}))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

try:
    import xgboost
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"federant.client.xgboost needs {error.name}, which is not installed: "
        "pip install 'federant[xgboost]'",
        name=error.name,
    ) from error

__all__ = ["boost", "load_booster", "parameters_of"]

NAME: Final = "booster"
"""The one name in the data of a model that is a booster."""

_BASE_SCORE: Final = 0.5


def parameters_of(booster: xgboost.Booster, *, since: int = 0) -> dict[str, bytearray]:
    """A booster as it travels: its text, as JSON, under the name ``booster``.

    ``since`` leaves out the first boosting rounds: a site returns what it has added to the global
    booster, ``since=before.num_boosted_rounds()``. Of scikit-learn's interface to XGBoost, pass
    ``model.get_booster()``.

    ValueError if the booster has no trees after ``since``.
    """
    rounds = booster.num_boosted_rounds()
    if not 0 <= since < rounds:
        raise ValueError(
            f"the booster has {rounds} boosting rounds, none after the first {since}; train some "
            "on top of it: xgboost.train(..., xgb_model=booster)"
        )
    return {NAME: (booster[since:] if since else booster).save_raw("json")}


def load_booster(params: Mapping[str, Any] | None) -> xgboost.Booster | None:
    """The global booster in a received model; None in the first round of a job that has none.

    ValueError if the model holds something else; XGBoostError if its XGBoost cannot read it.
    """
    if not params:
        return None
    if params.keys() != {NAME} or not isinstance(params[NAME], bytes | bytearray):
        raise ValueError(
            f"the received model holds {sorted(map(str, params))[:3]}, not the bytes of a booster "
            f"under the name {NAME!r}; run the job with the workflow tree_bagging"
        )
    return xgboost.Booster(model_file=bytearray(params[NAME]))


def boost(
    params: Mapping[str, Any],
    data: xgboost.DMatrix,
    model: Mapping[str, Any] | None,
    *,
    trees: int = 1,
    **options: Any,
) -> dict[str, bytearray]:
    """Trains more boosting rounds on top of a received model, and gives the new trees to return.

    ``params`` are XGBoost's, the same on every site; ``model`` is the data of the task, empty in
    the first round; ``trees`` is the number of boosting rounds, which the job names in the task's
    meta. ``options`` go to ``xgboost.train`` (``evals``, ``obj``, ``callbacks``, ...).

    All sites must begin with the same ``base_score``, which XGBoost would take from each site's
    own data: where ``params`` does not name it, it is 0.5.
    """
    booster = load_booster(model)
    before = 0
    if booster is None:
        params = {"base_score": _BASE_SCORE, **params}
    else:
        before = booster.num_boosted_rounds()
    grown = xgboost.train(dict(params), data, trees, xgb_model=booster, **options)
    return parameters_of(grown, since=before)
