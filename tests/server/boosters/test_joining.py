"""Trees of several sites in one booster: which, in what order, and how much each counts."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from federant.exchange import ReturnCode
from federant.server.boosters import BadBoosterError, Booster, join, read_booster

Text = Callable[..., bytearray]


def leaves(booster: Booster) -> list[float]:
    """The value of each tree's right leaf."""
    return [tree["split_conditions"][2] for tree in booster.trees]


@pytest.fixture
def grown(booster_text: Text) -> Callable[..., Booster]:
    def make(**options: Any) -> Booster:
        return read_booster(booster_text(**options))

    return make


def test_leaves_count_by_their_boosters_share_of_the_weights(grown: Any) -> None:
    joined = join(None, [(grown(leaf=0.5), 1), (grown(leaf=-0.25, rounds=2), 3)])
    assert leaves(joined) == [0.125, -0.1875, -0.1875]
    assert joined.rounds == [0, 1, 2, 3]


def test_where_trees_split_stays(grown: Any) -> None:
    joined = join(None, [(grown(), 1), (grown(), 1)])
    assert [tree["split_conditions"][0] for tree in joined.trees] == [1.5, 1.5]


def test_the_only_booster_stays_as_it_is(grown: Any, booster_text: Text) -> None:
    alone = join(None, [(grown(leaf=0.1), 7)])
    assert alone.text() == grown(leaf=0.1).text()


def test_the_models_own_trees_come_first_and_stay_as_they_are(grown: Any) -> None:
    model = join(None, [(grown(leaf=0.5), 1), (grown(leaf=0.5), 1)])
    joined = join(model, [(grown(leaf=1.0), 1), (grown(leaf=2.0), 1)])
    assert leaves(joined) == [0.25, 0.25, 0.5, 1.0]
    assert leaves(model) == [0.25, 0.25]


def test_trees_keep_their_groups_and_are_numbered_anew(grown: Any) -> None:
    joined = join(None, [(grown(classes=3), 1), (grown(classes=3, rounds=2), 1)])
    assert joined.groups == [0, 1, 2] * 3
    assert joined.rounds == [0, 3, 6, 9]
    trees = json.loads(joined.text())["learner"]["gradient_booster"]["model"]["trees"]
    assert [tree["id"] for tree in trees] == list(range(9))


def test_a_leaf_is_written_with_the_digits_of_float32(grown: Any) -> None:
    joined = join(None, [(grown(leaf=0.3), 1), (grown(leaf=0.3), 2)])
    assert leaves(joined) == [0.1, 0.2]


@pytest.mark.parametrize(
    ("options", "text", "rc"),
    [
        ({"features": 4}, "features are 4, the federation's 3", ReturnCode.RESULT_WRONG_SHAPE),
        ({"classes": 2}, "classes are 2, the federation's 0", ReturnCode.RESULT_WRONG_SHAPE),
        ({"parallel": 2}, "parallel trees are 2", ReturnCode.RESULT_WRONG_SHAPE),
    ],
)
def test_a_booster_of_another_shape_is_refused(
    grown: Any, options: dict[str, Any], text: str, rc: str
) -> None:
    with pytest.raises(BadBoosterError, match=text) as caught:
        join(None, [(grown(), 1), (grown(**options), 1)])
    assert caught.value.rc == rc


@pytest.mark.parametrize(
    ("old", "new", "text", "rc"),
    [
        (b"[5E-1]", b"[6E-1]", "name it in every site's params", ReturnCode.RESULT_WRONG_SHAPE),
        (b"binary:logistic", b"reg:squarederror", "same params", ReturnCode.RESULT_WRONG_SHAPE),
        (
            b'"feature_names":[]',
            b'"feature_names":["a","b","c"]',
            "the same columns in the same order",
            ReturnCode.RESULT_WRONG_NAMES,
        ),
        (
            b'"enc":[]',
            b'"enc":[{"values":[1,2]}]',
            "number the categories yourself",
            ReturnCode.RESULT_WRONG_SHAPE,
        ),
    ],
)
def test_a_booster_that_was_trained_otherwise_is_refused_with_what_to_do(
    grown: Any, booster_text: Text, old: bytes, new: bytes, text: str, rc: str
) -> None:
    other = read_booster(booster_text().replace(old, new))
    with pytest.raises(BadBoosterError, match=text) as caught:
        join(grown(), [(grown(), 1), (other, 1)])
    assert caught.value.rc == rc
