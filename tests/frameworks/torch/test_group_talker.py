"""Two real processes on gloo, of which one talks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("two_ranks.py")
JOINING = Path(__file__).with_name("joining_ranks.py")


def told_by(script: Path, store: Path, *variables: dict[str, str]) -> list[str]:
    """What each of two processes prints, each with variables of its own."""
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(store)],
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, own in enumerate(variables)
    ]
    try:
        told = [rank.communicate(timeout=100) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], told
    return [output for output, _ in told]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank saw."""
    store = tmp_path_factory.mktemp("group") / "store"
    return [json.loads(output) for output in told_by(SCRIPT, store, {}, {})]


def test_what_keeps_rank_0_from_joining_is_told_in_every_rank(tmp_path: Path):
    folder = tmp_path / "gpu-7"
    folder.mkdir()
    (folder / "kit.toml").write_text('identity = "spiffe://f/site/site-1/agent/gpu-7"\n')
    store = tmp_path / "store"
    # The kit lies on the machine of rank 0 only.
    variables = [{"FEDERANT_KIT": str(folder)}, {"FEDERANT_KIT": str(tmp_path / "not-here")}]
    first, second = told_by(JOINING, store, *variables)
    assert first == second
    assert "does not say which relay agent gpu-7 of site site-1 dials" in first


def test_every_rank_has_the_task_that_rank_0_got(seen: list[dict[str, Any]]):
    assert seen[0]["task"] == seen[1]["task"] == ["train", [0.0, 1.0, 2.0], 4]
    assert seen[0]["second"] == seen[1]["second"] == [True, [1.0, 1.0, 1.0]]


def test_a_rank_that_has_not_met_the_others_says_what_to_do(seen: list[dict[str, Any]]):
    assert "call torch.distributed.init_process_group() before" in seen[1]["alone"]


def test_every_rank_knows_the_site_and_the_job(seen: list[dict[str, Any]]):
    assert seen[0]["place"] == seen[1]["place"] == {"site_name": "site-1", "job_id": "job-7"}


def test_the_result_is_that_of_rank_0_and_all_hear_whether_it_was_accepted(
    seen: list[dict[str, Any]],
):
    # The task wants a difference: rank 0's, from what was received.
    assert seen[0]["results"] == [[5.0, 4.0, 3.0], {"accuracy": 0.5}]
    assert seen[0]["types"][0] == "DIFF"
    assert [rank["accepted"] for rank in seen] == [True, True]
    assert [rank["refused"] for rank in seen] == [False, False]


def test_a_result_that_cannot_travel_is_an_error_in_every_rank(seen: list[dict[str, Any]]):
    assert [rank["unsent"] for rank in seen] == ["TypeError: metrics['object'] cannot travel"] * 2


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ("key", "DifferenceError: no key is common to the model sent and the model received"),
        ("shape", "DifferenceError: 'w' has shape (4,) in the model sent and (3,)"),
        (
            "empty",
            "ApiCallError: the model sent for task 'train t1' has neither params",
        ),
        ("dict", "TypeError: send needs an FLModel, got dict"),
        ("trained", "TypeError: <lambda>, decorated with train, must return an FLModel, it"),
        ("scored", "TypeError: <lambda>, decorated with evaluate, must return a dict of scores"),
        ("again", "ApiCallError: the result of task 'validate t2' was sent, and was not accepted"),
    ],
)
def test_whatever_is_wrong_with_rank_0s_model_is_the_same_error_in_every_rank(
    seen: list[dict[str, Any]], sent: str, error: str
):
    assert seen[0][sent].startswith(error)
    assert seen[1][sent] == seen[0][sent]


def test_what_another_rank_s_decorated_function_returns_counts_for_nothing(
    seen: list[dict[str, Any]],
):
    assert [rank["others"] for rank in seen] == ["", ""]


def test_a_timeout_passes_for_all(seen: list[dict[str, Any]]):
    assert [rank["none"] for rank in seen] == [None, None]


def test_the_end_of_the_job_is_the_end_for_all(seen: list[dict[str, Any]]):
    assert [rank["running"] for rank in seen] == [False, False]


def test_any_failure_of_rank_0_ends_the_wait_of_the_others(seen: list[dict[str, Any]]):
    full, name, key = "OSError: the disk is full", "FileNotFoundError: no x", "KeyError: 'w'"
    assert seen[0]["failed"] == [full, f"{name}\udc80", key]
    # An error that the others do not know is its base there, and what is no text cannot travel.
    assert seen[1]["failed"] == [
        full,
        f"OSError: rank 0 failed: {name}?",
        f"ApiCallError: rank 0 failed: {key}",
    ]


def test_a_metric_is_logged_once(seen: list[dict[str, Any]]):
    assert [rank["logged"] for rank in seen] == [True, False]
    assert seen[0]["records"] == 1
