"""What a workflow is: parameters that check themselves, and a run; no algorithm lives here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from federant.server.workflow.context import Context


class Workflow(BaseModel, ABC):
    """The server's program for a job.

    The fields of a subclass are its job's parameters: pydantic checks them when the job is
    submitted, and a parameter that no field names is refused.  ``run`` is the algorithm.  It must
    be replayable: after a restart it is called again, and every call of the context that it made
    before gets the same answer from the journal.  So let everything that may differ from run to
    run (the time, a random choice, which sites there are) come from the context.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int | None = None
    """Where the context's random choices start; by default each job's are its own."""

    @abstractmethod
    def run(self, ctx: Context) -> None:
        """Run the job to its end.  An exception fails the job; its text reaches the operator."""
