"""Which of the numbers that sites report count, and their mean."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from federant.codec import JaxArray, TorchArray, decode, encode
from federant.server.workflow.scores import MOST_SCORES, MeanScores, scores_in


def test_numbers_count_by_name_and_what_is_none_is_left_out() -> None:
    metrics = {
        "loss": np.float32(0.5),
        "count": 3,
        "by_class": {"cat": 0.25, 7: 1},
        "report": "all is well",
        "best": True,
        "nan": float("nan"),
        "huge": 10**400,
        "parts": [1.0],
        "x" * 201: 1.0,
        10**5000: 1.0,
    }
    assert scores_in(metrics) == {
        "by_class/7": 1.0,
        "by_class/cat": 0.25,
        "count": 3.0,
        "loss": 0.5,
    }


@pytest.mark.parametrize("mark", [np.ndarray, TorchArray, JaxArray])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "u1", ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_an_array_of_one_element_is_its_number(mark: Any, dtype: Any, shape: Any) -> None:
    loss = np.full(shape, 2, dtype).view(mark)
    assert scores_in({"loss": loss}) == {"loss": 2.0}
    assert scores_in(decode(encode({"loss": loss}).to_bytes()).body) == {"loss": 2.0}


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2),
        np.zeros(0),
        np.array(True),
        np.array(1j),
        np.array("0.5"),
        np.array("2026-01-01", "M8[D]"),
        np.array(np.nan),
        np.array([np.inf], np.float32),
        np.array(None, object),
    ],
)
def test_any_other_array_is_no_score(array: Any) -> None:
    assert scores_in({"array": array}) == {}


@pytest.mark.parametrize("metrics", [None, "text", 1.0, [], {}])
def test_what_is_no_dict_of_numbers_has_no_scores(metrics: object) -> None:
    assert scores_in(metrics) == {}


def test_only_so_many_are_looked_at() -> None:
    assert len(scores_in({str(number): 1.0 for number in range(1000)})) == MOST_SCORES


def test_the_mean_of_a_score_is_weighted_over_those_who_report_it() -> None:
    scores = MeanScores()
    scores.add({"loss": 1.0}, 1.0)
    scores.add({"loss": 4.0, "auc": 0.5}, 2.0)
    scores.add({"huge": 1e308}, 1e12)
    scores.add("no scores at all", 5.0)
    assert scores.mean() == {"auc": 0.5, "loss": 3.0}
