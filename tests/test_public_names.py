"""What a trainer may import, and from where."""

import importlib
import json
import subprocess
import sys

import pytest

import federant

NAMES = [
    "RC",
    "AgentAbortException",
    "AgentClosed",
    "AgentEndException",
    "AgentPeerGoneException",
    "CallStateError",
    "FlareAgent",
    "FlareAgentException",
    "Task",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_agent_and_its_names_are_in_its_module_and_in_federant(name: str) -> None:
    module = importlib.import_module("federant.client.flare_agent")
    assert name in module.__all__
    assert name in federant.__all__
    assert getattr(federant, name) is getattr(module, name)


@pytest.mark.parametrize("name", federant.__all__)
def test_what_federant_offers_is_there(name: str) -> None:
    assert getattr(federant, name) is not None


def test_a_trainer_can_catch_that_it_does_not_know_where_to_connect() -> None:
    assert issubclass(federant.JoinError, federant.FlareAgentException)


def test_return_codes_are_plain_texts() -> None:
    assert federant.RC.OK == "OK"
    assert federant.RC.TASK_ABORTED == "TASK_ABORTED"


def test_what_a_trainer_imports_needs_none_of_the_extras() -> None:
    code = "import json, sys, federant; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    extras = {"blake3", "fastapi", "psutil", "pydantic", "rich", "sqlalchemy", "typer", "urllib3"}
    extras |= {"websockets"}
    assert extras.isdisjoint(json.loads(done.stdout))
