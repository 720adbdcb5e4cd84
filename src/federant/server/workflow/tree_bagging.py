"""Bagging of trees over sites, for gradient boosting by XGBoost; trains and predicts nothing."""

from __future__ import annotations

from typing import Final

from pydantic import PositiveFloat, PositiveInt

from federant.exchange import DXO, DataKind
from federant.server.boosters import (
    MODEL_LIMITS,
    NAME,
    BadBoosterError,
    Booster,
    booster_of,
    join,
)
from federant.server.validation import ExpectedTrees
from federant.server.workflow.base import Workflow
from federant.server.workflow.context import Context
from federant.server.workflow.errors import WorkflowError

TREES: Final = "trees"
"""The key in a task's meta: how many boosting rounds the site is to train."""


class TreeBagging(Workflow):
    """Each round every site grows trees on the global booster; the new one has them all.

    A site's new trees count by its share of the examples (NUM_STEPS_CURRENT_ROUND in the result's
    meta, 1 if it does not say): all of them together move a prediction by the mean of what the
    sites' trees would move it by.  Who takes part in a round is as in FedAvg.

    A booster travels as the text that XGBoost's ``save_raw("json")`` gives, as bytes under the one
    name ``booster``.  A site returns its new trees only.
    """

    rounds: PositiveInt = 10
    trees: PositiveInt = 1
    """Boosting rounds that each site trains in each round; a result may have fewer."""
    min_sites: PositiveInt = 1
    """Sites that must be ready before the first round, and good results that a round needs."""
    round_timeout: PositiveFloat | None = None
    """Seconds after which a round does without those who have not answered; None waits for all."""
    start_timeout: PositiveFloat | None = None
    """Seconds in which ``min_sites`` sites must be ready."""
    task: str = "train"
    """The name of the task that trainers see."""

    def run(self, ctx: Context) -> None:
        ctx.wait_for_sites(self.min_sites, timeout=self.start_timeout)
        first, found = ctx.resume()
        booster = _checked(found)
        model = self._as_task(booster)
        for number in range(first, self.rounds):
            gathering = ctx.broadcast(
                self.task,
                model,
                current_round=number,
                total_rounds=self.rounds,
                timeout=self.round_timeout,
                expect=ExpectedTrees(self.trees),
            )
            grown = {
                result.site: (booster_of(result.data), result.weight)
                for result in gathering
                if result.ok
            }
            gathering.require(self.min_sites)
            # By name, so that the order in which they came does not show in the model.
            booster = join(booster, [grown[site] for site in sorted(grown)])
            model = self._as_task(booster)
            metrics = {"sites": len(grown), "trees": len(booster.trees)}
            ctx.save_model(model, current_round=number, metrics=metrics)

    def _as_task(self, booster: Booster | None) -> DXO:
        # WEIGHTS and not APP_DEFINED: it is the model, and all that handles models (the client API,
        # filters, the result checks, ``federant job model``) takes it for one. What is no number is
        # never averaged. The meta is in what is kept too, so that task and model are one blob.
        text = {} if booster is None else {NAME: booster.text()}
        return DXO(DataKind.WEIGHTS, text, {TREES: self.trees})


def _checked(model: DXO | None) -> Booster | None:
    if model is None or not model.data:
        return None
    try:
        return booster_of(model, MODEL_LIMITS)
    except BadBoosterError as error:
        raise WorkflowError(
            f"the model to begin with is no booster that can be grown: {error}"
        ) from error
