"""What ends a workflow's run, as two trees.

WorkflowError                  the job has failed, and the text says why
├── UnknownWorkflowError       no workflow has that name
├── BadParamsError             the job's parameters are not what the workflow takes
├── TooFewSitesError           fewer sites, or results, than the workflow needs
└── NotReplayableError         run did something else than what its journal says it did

Interrupted                    run is to end now; no Exception, so that ``except Exception``
├── JobStopped                 in a workflow does not swallow it
└── Suspended                  this process gives the job up; it is replayed elsewhere or later
"""

from __future__ import annotations


class WorkflowError(Exception):
    """Raise this in a workflow to end its job as failed, with a text for the operator."""


class UnknownWorkflowError(WorkflowError, LookupError):
    """No workflow goes by that name here."""


class BadParamsError(WorkflowError, ValueError):
    """The job's parameters are not what the workflow takes."""


class TooFewSitesError(WorkflowError):
    """Fewer sites take part, or gave a result, than the workflow needs."""


class NotReplayableError(WorkflowError):
    """The replayed run called for another step than the one in the journal."""


class Interrupted(BaseException):
    """The run is to end now, whatever it is doing."""


class JobStopped(Interrupted):
    """The operator stopped the job."""


class Suspended(Interrupted):
    """The server stops, or another runner has the job; nothing is lost."""
