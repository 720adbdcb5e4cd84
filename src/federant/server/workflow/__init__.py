"""Workflows: the server's programs for jobs, and what they are written on."""

from federant.server.workflow.base import Workflow
from federant.server.workflow.context import Context, sites_wanted
from federant.server.workflow.cross_site import CrossSite
from federant.server.workflow.cyclic import Cyclic
from federant.server.workflow.errors import (
    BadParamsError,
    Interrupted,
    JobStopped,
    NotReplayableError,
    Suspended,
    TooFewSitesError,
    UnknownWorkflowError,
    WorkflowError,
)
from federant.server.workflow.fedavg import FedAvg
from federant.server.workflow.gathering import Gathering, SiteResult
from federant.server.workflow.journal import Journal
from federant.server.workflow.registry import Workflows, load_workflows, make_workflow
from federant.server.workflow.tree_bagging import TreeBagging

__all__ = [
    "BadParamsError",
    "Context",
    "CrossSite",
    "Cyclic",
    "FedAvg",
    "Gathering",
    "Interrupted",
    "JobStopped",
    "Journal",
    "NotReplayableError",
    "SiteResult",
    "Suspended",
    "TooFewSitesError",
    "TreeBagging",
    "UnknownWorkflowError",
    "Workflow",
    "WorkflowError",
    "Workflows",
    "load_workflows",
    "make_workflow",
    "sites_wanted",
]
