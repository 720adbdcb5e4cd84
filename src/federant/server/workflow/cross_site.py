"""Cross-site validation: every site's model, evaluated by every site."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt

from federant.exchange import DXO, DataKind, HeaderKey, Shareable
from federant.link.messages import SERVER_NAME
from federant.server.workflow.base import Workflow
from federant.server.workflow.context import Context
from federant.server.workflow.errors import TooFewSitesError
from federant.server.workflow.scores import scores_in

MODEL_OWNER = "model_owner"
"""Key of a model's meta: whose it is, a site's name; SERVER_NAME of the job's initial model."""

Table = dict[str, dict[str, dict[str, float]]]
"""By the name of a score: by the model's owner: by the site that evaluated it."""


class CrossSite(Workflow):
    """Each site hands in its model; then each site evaluates each model, and the job's own.

    Each score is a metric of the job, under the tag ``score/owner@site``, and at the end a table is
    in its events.  A site that hands in no model evaluates all the same.  Whom a job asks is as in
    FedAvg.
    """

    min_sites: PositiveInt = 1
    """Sites that must be ready before it begins, and that must evaluate each model."""
    start_timeout: PositiveFloat | None = None
    """Seconds in which ``min_sites`` sites must be ready."""
    submit_timeout: PositiveFloat | None = None
    """Seconds for the sites to hand in their models; None waits for all."""
    validate_timeout: PositiveFloat | None = None
    """Seconds for all evaluations together; None waits for all."""
    submit_task: str = "submit_model"
    """The name of the task that asks for a model."""
    validate_task: str = "validate"
    """The name of the task that asks for an evaluation."""
    model_name: str = "best_model"
    """Which of its models a site is asked for; trainers find it in the model's meta."""

    def run(self, ctx: Context) -> None:
        ctx.wait_for_sites(self.min_sites, timeout=self.start_timeout)
        request = Shareable()
        request.set_header(HeaderKey.SUBMIT_MODEL_NAME, self.model_name)
        handed_in = ctx.broadcast(
            self.submit_task, request, timeout=self.submit_timeout, expect=(DataKind.WEIGHTS,)
        )
        models = {} if ctx.initial_model is None else {SERVER_NAME: ctx.initial_model}
        found = {result.site: result.data for result in handed_in if result.ok}
        models |= dict(sorted(found.items()))
        if not models:
            reasons = "; ".join(map(str, handed_in.failed))
            raise TooFewSitesError(f"no site has handed in a model to be evaluated: {reasons}")
        # All at once, so that no site waits for another between two models.
        evaluations = {
            owner: ctx.broadcast(
                self.validate_task,
                DXO(DataKind.WEIGHTS, model.data, {MODEL_OWNER: owner}),
                handed_in.sites,
                timeout=self.validate_timeout,
                expect=(DataKind.METRICS,),
            )
            for owner, model in models.items()
        }
        table: Table = {}
        for owner, results in evaluations.items():
            by_site = {result.site: scores_in(result.data.data) for result in results if result.ok}
            results.require(self.min_sites)
            for site, scores in sorted(by_site.items()):
                for name, value in scores.items():
                    ctx.metric(f"{name}/{owner}@{site}", value)
                    table.setdefault(name, {}).setdefault(owner, {})[site] = value
        for name, rows in sorted(table.items()):
            ctx.log(_as_text(name, rows))


def _as_text(name: str, rows: dict[str, dict[str, float]]) -> str:
    """One line a model, one column a site."""
    sites = sorted({site for row in rows.values() for site in row})
    head = [f"{name}: model of", *(f"at {site}" for site in sites)]
    lines = [[owner, *(_shown(row.get(site)) for site in sites)] for owner, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *lines]
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
