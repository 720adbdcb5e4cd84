"""Real scripts, tried out: what is seen of good ones, and what is said of bad ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant.exchange import DXO, DataKind
from federant.trial import TensorSeen, TrialPlan, TrialReport, run_trial

SCRIPTS = Path(__file__).with_name("scripts.py")


def tried(way: str, **plan: Any) -> TrialReport:
    plan = {"timeout": 60.0, "ending_seconds": 30.0, **plan}
    command = [sys.executable, str(SCRIPTS), way]
    return run_trial(TrialPlan(command, SCRIPTS.parent, **plan))


def model() -> DXO:
    return DXO(
        DataKind.WEIGHTS,
        {"layer.w": np.ones((3, 4), np.float32), "layer.b": np.ones(4, np.float32)},
    )


def test_of_a_good_script_everything_is_seen_and_nothing_is_wrong() -> None:
    report = tried("good", rounds=3)
    assert report.problems() == []
    assert report.advice() == []
    assert [(seen.round, seen.rc, seen.kind, seen.weight) for seen in report.tasks] == [
        (number, "OK", "WEIGHTS", 12.0) for number in range(3)
    ]
    assert report.tasks[0].tensors == (
        TensorSeen("layer.w", (3, 4), "float32"),
        TensorSeen("layer.b", (4,), "float32"),
    )
    # The second round carries what the first one made.
    assert [seen.carried_model for seen in report.tasks] == [False, True, True]
    loss = report.metrics["loss"]
    assert (loss.count, loss.last) == (3, 1 / 3)
    assert (report.starts, report.ended, report.clean, report.left) == (
        1,
        "exit status 0",
        True,
        (),
    )
    assert report.joined_seconds is not None
    assert all(seen.seconds > 0 and seen.peak_bytes > 1 << 20 for seen in report.tasks)
    assert "the script has ended" in report.last_lines


def test_the_first_task_carries_the_model_that_is_given() -> None:
    report = tried("good", model=model())
    assert report.ok
    assert [seen.carried_model for seen in report.tasks] == [True, True]


def test_a_script_on_the_client_api_is_tried_with_each_of_its_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FEDERANT_KIT", "/a/kit/of/its/own")  # with which it would dial a relay
    report = tried("flare_good", tasks=("train", "validate"))
    assert report.problems() == []
    assert [(seen.name, seen.kind) for seen in report.tasks] == [
        ("train", "WEIGHTS"),
        ("validate", "METRICS"),
    ] * 2
    assert [seen.values for seen in report.tasks[:2]] == [{"accuracy": 0.75}, {"accuracy": 0.5}]


WRONG = {
    "reshaped": "round 2: the server would refuse the result: RESULT_WRONG_SHAPE: 'layer.b' has "
    "shape (2,), the model's has (1,); return each array in the shape in which it came",
    "nan": "round 1: the server would refuse the result: RESULT_NOT_FINITE: 'layer.b' holds nan",
    "bad_import": "ModuleNotFoundError: No module named 'no_such_package'",
    "forgets_init": "init",
    "crashes": "EXECUTION_EXCEPTION",
    "ends_at_once": "does it call federant.join() or flare.init(), and ask for tasks until",
    "trips_over_the_end": "after the job's end the script ended with exit status 1",
}


@pytest.mark.parametrize("way", WRONG)
def test_what_is_wrong_is_said_with_what_to_do(way: str) -> None:
    report = tried(way)
    assert not report.ok
    assert WRONG[way] in "\n".join(report.problems())


def test_a_script_that_never_joins_is_told_what_to_call() -> None:
    report = tried("never_joins", timeout=1.0)
    (problem,) = report.problems()
    assert "federant.join() and get_task(), or flare.init() and flare.receive()" in problem
    assert report.joined_seconds is None


def test_a_script_that_goes_on_after_the_end_of_the_job_is_ended_and_told() -> None:
    report = tried("stays_on", ending_seconds=1.0)
    (problem,) = report.problems()
    assert "did not end within 1 s of the job's end" in problem
    assert "agent.tasks()" in problem
    assert report.end == "the check ended it, having seen no end of its own"


def test_a_script_that_joins_and_leaves_at_once_is_told_how_it_ended() -> None:
    report = tried("joins_and_leaves")
    assert not report.ok
    assert report.end == "exit status 0"


def test_a_command_that_cannot_be_started_is_not_said_to_have_gone_on() -> None:
    report = run_trial(TrialPlan(["./no-such-command"], SCRIPTS.parent, timeout=60.0))
    assert not report.ok
    assert report.end == "it was never started"


def test_weights_that_do_not_fit_the_model_that_was_given_are_refused() -> None:
    report = tried("good", model=DXO(DataKind.WEIGHTS, {"other": np.ones(2, np.float64)}))
    assert report.ok  # it trains whatever comes
    report = tried("reshaped", model=model())
    assert "'layer.b' has shape (1,), the model's has (4,)" in report.problems()[0]


ADVICE = {
    "no_weight": "no NUM_STEPS_CURRENT_ROUND",
    "unchanged": "all arrays as they came",
    "forgets": "UserWarning: a LogisticRegression with warm_start=False begins anew in each fit",
    "leaves_a_process": "1 of the script's processes outlived it, and a site ends them",
    "one_task": "the script was started 2 times",
}


@pytest.mark.parametrize("way", ADVICE)
def test_what_is_allowed_and_may_not_be_meant_is_a_note(way: str) -> None:
    report = tried(way)
    assert report.problems() == []
    assert ADVICE[way] in "\n".join(report.advice())


def test_a_refusal_is_told_to_the_script_as_a_server_would_tell_it() -> None:
    report = tried("is_told")
    assert len(report.problems()) == 2
    assert "refused before: RESULT_NOT_FINITE: 'w' holds inf" in report.last_lines


def test_a_script_that_fails_without_a_model_is_told_how_to_give_it_one() -> None:
    report = tried("crashes")
    assert "ZeroDivisionError" in report.problems()[0]
    assert "--model FILE.safetensors" in report.advice()[0]
