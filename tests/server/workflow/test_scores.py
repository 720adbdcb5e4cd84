"""Which of the numbers that sites report count, and their mean."""

from __future__ import annotations

import numpy as np
import pytest

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
