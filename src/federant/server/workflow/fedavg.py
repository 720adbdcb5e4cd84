"""Federated averaging (McMahan et al., 2017)."""

from __future__ import annotations

from typing import Any

from pydantic import PositiveFloat, PositiveInt

from federant.exchange import DXO, DataKind, HeaderKey, MetaKey, ParamsType
from federant.server.aggregation import WeightedMean
from federant.server.validation import MODEL_KINDS
from federant.server.workflow.base import Workflow
from federant.server.workflow.context import Context
from federant.server.workflow.scores import MeanScores


class FedAvg(Workflow):
    """Each round every site trains the global model; the new one is the mean of theirs.

    The mean is weighted by each result's NUM_STEPS_CURRENT_ROUND (examples, say; 1 if it does not
    say).  Sites return whole models or differences.  What they say of the model that a round begins
    with (their ``initial_metrics``) is averaged in the same way, and shown.  A job without an
    initial model begins with an empty one, which each trainer takes to make its own.

    A job that names its sites asks all of them in each round, those not yet ready too, but for
    those that have left it.  One that names none asks those that are ready as the round begins.
    """

    rounds: PositiveInt = 10
    min_sites: PositiveInt = 1
    """Sites that must be ready before the first round, and good results that a round needs."""
    round_timeout: PositiveFloat | None = None
    """Seconds after which a round does without those who have not answered; None waits for all."""
    start_timeout: PositiveFloat | None = None
    """Seconds in which ``min_sites`` sites must be ready."""
    task: str = "train"
    """The name of the task that trainers see."""
    transfer: ParamsType = ParamsType.FULL
    """What trainers are to return: the whole model, or its difference from the one they got.

    A script on the client API sends whole models in either case; the API takes the difference.
    """

    def run(self, ctx: Context) -> None:
        ctx.wait_for_sites(self.min_sites, timeout=self.start_timeout)
        first, model = ctx.resume()
        mean = None
        for number in range(first, self.rounds):
            gathering = ctx.broadcast(
                self.task,
                model or DXO(DataKind.WEIGHTS),
                current_round=number,
                total_rounds=self.rounds,
                timeout=self.round_timeout,
                expect=MODEL_KINDS,
                # From no model there is no difference.
                headers={HeaderKey.TRANSFER_TYPE: str(self.transfer)} if model else None,
            )
            mean = WeightedMean(model, spare=mean)
            scores = MeanScores()
            for result in gathering:
                if result.ok:
                    mean.add(result.data, result.weight)
                    scores.add(result.data.meta.get(MetaKey.INITIAL_METRICS), result.weight)
                del result  # what was read of its file counts as memory until it is let go of
            gathering.require(self.min_sites)
            metrics: dict[str, Any] = {"sites": mean.count, "weight": mean.weight}
            if initial := scores.mean():
                metrics[MetaKey.INITIAL_METRICS] = initial
                for name, value in initial.items():
                    ctx.metric(f"{MetaKey.INITIAL_METRICS}/{name}", value, number)
            model = ctx.save_model(mean.mean(), current_round=number, metrics=metrics)
