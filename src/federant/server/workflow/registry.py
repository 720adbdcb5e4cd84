"""Which workflows there are, by name, and how a job's becomes an object; runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final

from pydantic import ValidationError

from federant.server.workflow.base import Workflow
from federant.server.workflow.cross_site import CrossSite
from federant.server.workflow.cyclic import Cyclic
from federant.server.workflow.errors import BadParamsError, UnknownWorkflowError
from federant.server.workflow.fedavg import FedAvg
from federant.server.workflow.tree_bagging import TreeBagging

Workflows = Mapping[str, type[Workflow]]

ENTRY_POINTS: Final = "federant.workflows"
"""The group under which an installed package offers workflows of its own."""

_BUILT_IN: Final[Workflows] = {
    "fedavg": FedAvg,
    "cyclic": Cyclic,
    "cross_site": CrossSite,
    "tree_bagging": TreeBagging,
}


def load_workflows(configured: Mapping[str, str] | None = None) -> Workflows:
    """Those of this package, of installed packages, and of the server's own configuration.

    ``configured`` maps names to ``"module:Class"``.  A job can only name a workflow, never code.
    TypeError for something that is no Workflow; the import's own error if there is one.
    """
    found: dict[str, type[Workflow]] = dict(_BUILT_IN)
    for point in entry_points(group=ENTRY_POINTS):
        found[point.name] = _checked(point.name, point.load())
    for name, place in (configured or {}).items():
        module, _, attribute = place.partition(":")
        found[name] = _checked(name, getattr(import_module(module), attribute, None))
    return found


def make_workflow(workflows: Workflows, name: str, params: Mapping[str, object]) -> Workflow:
    """The workflow of that name with these parameters.

    UnknownWorkflowError, or BadParamsError that names each parameter that is wrong.
    """
    found = workflows.get(name)
    if found is None:
        raise UnknownWorkflowError(
            f"there is no workflow {name!r}; there are {', '.join(sorted(workflows))}"
        )
    try:
        return found.model_validate(params)
    except ValidationError as error:
        raise BadParamsError(_problems(name, found, error)) from error


def _problems(name: str, workflow: type[Workflow], error: ValidationError) -> str:
    fields = list(workflow.model_fields)
    told = []
    unknown = False
    for problem in error.errors(include_url=False):
        where = ".".join(map(str, problem["loc"]))
        text = f"{where or 'params'}: {problem['msg']}"
        if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
            unknown = True
            text = f"{where}: there is no such parameter"
            if near := get_close_matches(where, fields, n=1):
                text += f", did you mean {near[0]}?"
        elif problem["loc"]:
            text += f", got {problem['input']!r:.100}"
        told.append(text)
    problems = f"the parameters of workflow {name} are not right: {'; '.join(told)}"
    return f"{problems}; it takes {', '.join(fields)}" if unknown else problems


def _checked(name: str, found: object) -> type[Workflow]:
    if isinstance(found, type) and issubclass(found, Workflow):
        return found
    raise TypeError(f"workflow {name} is {found!r}; it must be a subclass of {Workflow.__name__}")
