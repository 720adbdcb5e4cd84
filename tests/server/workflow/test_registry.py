"""Workflows by name, and the parameters that they take."""

import pytest

from federant.server.workflow import (
    BadParamsError,
    Context,
    Cyclic,
    FedAvg,
    TreeBagging,
    UnknownWorkflowError,
    Workflow,
    load_workflows,
    make_workflow,
)


class Mine(Workflow):
    greeting: str = "hello"

    def run(self, ctx: Context) -> None:
        ctx.log(self.greeting)


def test_fedavg_and_cyclic_are_built_in() -> None:
    workflows = load_workflows()
    assert workflows["fedavg"] is FedAvg
    assert workflows["cyclic"] is Cyclic
    assert workflows["tree_bagging"] is TreeBagging


def test_a_server_can_name_a_workflow_of_its_own() -> None:
    found = load_workflows({"other": "federant.server.workflow.fedavg:FedAvg"})
    assert found["other"] is FedAvg


def test_a_configured_name_that_is_no_workflow_is_refused() -> None:
    with pytest.raises(TypeError, match="workflow mine is <class 'dict'>; it must be a subclass"):
        load_workflows({"mine": "builtins:dict"})


def test_parameters_become_the_workflows_fields() -> None:
    workflow = make_workflow({"mine": Mine}, "mine", {"greeting": "hi", "seed": 3})
    assert workflow == Mine(greeting="hi", seed=3)


def test_an_unknown_workflow_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        UnknownWorkflowError, match=r"no workflow 'fedprox'; there are .*, fedavg, tree_bagging"
    ):
        make_workflow(load_workflows(), "fedprox", {})


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"rounds": 0}, "rounds: Input should be greater than 0, got 0"),
        ({"round_timeout": "soon"}, "round_timeout: Input should be a valid number.*, got 'soon'"),
    ],
)
def test_a_wrong_value_is_refused_with_the_value_and_nothing_else(
    params: dict[str, object], problem: str
) -> None:
    with pytest.raises(BadParamsError, match=f"parameters of workflow fedavg .*{problem}") as error:
        make_workflow(load_workflows(), "fedavg", params)
    assert "it takes" not in str(error.value)


@pytest.mark.parametrize(
    ("unknown", "problem"),
    [
        ("round", r"round: there is no such parameter, did you mean rounds\?"),
        ("qqq", "qqq: there is no such parameter;"),
    ],
)
def test_an_unknown_parameter_is_refused_with_those_that_there_are(
    unknown: str, problem: str
) -> None:
    with pytest.raises(BadParamsError, match=f"workflow fedavg .*{problem}.*it takes .*min_sites"):
        make_workflow(load_workflows(), "fedavg", {"rounds": 2, unknown: 3})
