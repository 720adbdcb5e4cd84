"""Cyclic weight transfer (Chang et al., 2018)."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt

from federant.exchange import DXO, DataKind
from federant.server.workflow.base import Workflow
from federant.server.workflow.context import Context
from federant.server.workflow.errors import TooFewSitesError


class Cyclic(Workflow):
    """Each round the model goes from site to site, in an order drawn anew; each trains it on.

    Who takes part in a round is as in FedAvg.
    """

    rounds: PositiveInt = 10
    min_sites: PositiveInt = 1
    """Sites that must be ready before the first round, and that must have trained in a round."""
    site_timeout: PositiveFloat | None = None
    """Seconds that each site has; then the model goes on without it.  None waits for it."""
    start_timeout: PositiveFloat | None = None
    """Seconds in which ``min_sites`` sites must be ready."""
    task: str = "train"
    """The name of the task that trainers see."""

    def run(self, ctx: Context) -> None:
        ctx.wait_for_sites(self.min_sites, timeout=self.start_timeout)
        first, model = ctx.resume()
        for number in range(first, self.rounds):
            sites = ctx.sites()
            ctx.random.shuffle(sites)
            results = ctx.relay(
                sites,
                self.task,
                model or DXO(DataKind.WEIGHTS),
                current_round=number,
                total_rounds=self.rounds,
                timeout=self.site_timeout,
                expect=(DataKind.WEIGHTS,),
            )
            good = [result for result in results if result.ok]
            if len(good) < self.min_sites:
                raise TooFewSitesError(
                    f"round {number + 1}: {len(good)} sites trained and {self.min_sites} are "
                    "needed: " + ("; ".join(map(str, results)) or "no site was ready")
                )
            model = DXO(DataKind.WEIGHTS, good[-1].data.data)
            ctx.save_model(model, current_round=number, metrics={"sites": len(good)})
