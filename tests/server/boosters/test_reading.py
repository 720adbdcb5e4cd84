"""Boosters as text: what is taken, what comes out again, and what is refused by which name."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from federant.exchange import DXO, DataKind, ReturnCode
from federant.server.boosters import (
    BadBoosterError,
    BoosterLimits,
    booster_of,
    read_booster,
)

NewBooster = Callable[..., dict[str, Any]]

MODEL = ("learner", "gradient_booster", "model")
TREE = (*MODEL, "trees", 0)


def put(found: Any, path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The same JSON with another value in one place; ``...`` takes the place away."""
    whole = json.loads(json.dumps(found))
    place = whole
    for part in path[:-1]:
        place = place[part]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return whole


def text_of(found: Any) -> bytes:
    return json.dumps(found, separators=(",", ":")).encode()


def refused(text: bytes, **options: Any) -> BadBoosterError:
    with pytest.raises(BadBoosterError) as caught:
        read_booster(text, **options)
    return caught.value


# ---- taken ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rounds": 3},
        {"rounds": 2, "classes": 4},
        {"rounds": 2, "classes": 3, "parallel": 2},
    ],
)
def test_what_was_read_is_written_as_it_was(new_booster: NewBooster, options: Any) -> None:
    found = new_booster(**options)
    again = json.loads(read_booster(text_of(found)).text())
    wanted = put(found, (*MODEL, "cats"), ...)
    wanted["learner"]["learner_model_param"].pop("base_score")
    score = again["learner"]["learner_model_param"].pop("base_score")
    assert again == wanted
    assert [float(part) for part in score.strip("[]").split(",")] == [0.5] * max(
        options.get("classes", 0), 1
    )


def test_reading_and_writing_again_changes_no_bit(new_booster: NewBooster) -> None:
    once = read_booster(text_of(new_booster(rounds=2, leaf=0.1))).text()
    assert read_booster(once).text() == once


def test_a_score_of_a_version_that_has_one_only_is_written_without_brackets(
    new_booster: NewBooster,
) -> None:
    found = put(new_booster(), ("version",), [2, 1, 0])
    found = put(found, ("learner", "learner_model_param", "base_score"), "5E-1")
    again = json.loads(read_booster(text_of(found)).text())
    assert again["learner"]["learner_model_param"]["base_score"] == "5e-01"


def test_what_a_site_notes_in_its_booster_goes_no_further(new_booster: NewBooster) -> None:
    found = put(new_booster(), ("learner", "attributes"), {"patient": "Ada Lovelace"})
    found = put(found, ("learner", "note"), "Ada Lovelace")
    assert b"Ada" not in read_booster(text_of(found)).text()


def test_nodes_that_no_way_leads_to_are_left_out(new_booster: NewBooster) -> None:
    found = new_booster()
    tree = found["learner"]["gradient_booster"]["model"]["trees"][0]
    # As XGBoost's "exact" prunes: the tree's root leads to nodes 3 and 4, nodes 1 and 2 are gone.
    for name, values in tree.items():
        if isinstance(values, list) and len(values) == 3:
            tree[name] = [values[0], 0, 0, *values[1:]]
    tree |= {"left_children": [3, -1, -1, -1, -1], "right_children": [4, -1, -1, -1, -1]}
    tree |= {"parents": [2147483647, 0, 0, 0, 0], "split_indices": [1, 2147483647, 0, 0, 0]}
    tree["tree_param"] |= {"num_nodes": "5", "num_deleted": "2"}
    [left] = read_booster(text_of(found)).trees
    [wanted] = read_booster(text_of(new_booster())).trees
    assert left == wanted


def test_the_categories_of_a_split_stay_with_it(new_booster: NewBooster) -> None:
    found = new_booster()
    found["learner"]["gradient_booster"]["model"]["trees"][0] |= {
        "split_type": [1, 0, 0],
        "categories": [2, 5],
        "categories_nodes": [0],
        "categories_segments": [0],
        "categories_sizes": [2],
    }
    [tree] = read_booster(text_of(found)).trees
    assert tree["categories"] == [2, 5]
    assert tree["categories_nodes"] == [0]
    assert tree["split_type"] == [1, 0, 0]


def test_names_of_features_in_any_script_are_kept(new_booster: NewBooster) -> None:
    found = put(new_booster(), ("learner", "feature_names"), ["Größe", 'a "b" \\', "年齢"])
    text = read_booster(text_of(found)).text()
    assert "Größe".encode() in text
    assert json.loads(text)["learner"]["feature_names"] == ["Größe", 'a "b" \\', "年齢"]


def test_a_task_may_get_fewer_rounds_than_it_asked_for(new_booster: NewBooster) -> None:
    assert read_booster(text_of(new_booster(rounds=2)), rounds=3).rounds == [0, 1, 2]


# ---- refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("learner",), ..., "lacks learner"),
        (("learner", "gradient_booster", "model"), 3, "lacks gbtree_model_param"),
        ((*MODEL, "trees"), {}, "trees are no list"),
        ((*MODEL, "trees"), [3], "lacks tree_param"),
        ((*MODEL, "trees"), [], "0 trees, 1 groups"),
        ((*MODEL, "tree_info"), [1], "tree_info must be whole numbers from 0 to 0"),
        ((*MODEL, "iteration_indptr"), [0, 2], "each round must have 1 trees"),
        ((*MODEL, "iteration_indptr"), [], "each round must have 1 trees"),
        ((*MODEL, "gbtree_model_param", "num_parallel_tree"), "0", "num_parallel_tree is 0"),
        ((*MODEL, "cats"), [[[[[[[1]]]]]]], "cats nests too deep"),
        (("version",), [1, 7, 0], "2.0.0 or more"),
        (("version",), "3.2.0", "version must be a list, it is '3.2.0'"),
        (("learner", "learner_model_param", "num_feature"), "9" * 400, "num_feature is '999"),
        (("learner", "learner_model_param", "num_feature"), True, "num_feature is True"),
        (("learner", "learner_model_param", "num_class"), "-1", "num_class is '-1'"),
        (("learner", "learner_model_param", "base_score"), "[1,2]", "base_score has 2 numbers"),
        (("learner", "learner_model_param", "base_score"), "[]", "numbers in a text"),
        (("learner", "learner_model_param", "base_score"), 0.5, "numbers in a text, it is 0.5"),
        (("learner", "feature_names"), ["a"], "1 names and 0 types"),
        (("learner", "feature_names"), ["a", "b", "c\u0000"], "no printable text"),
        (("learner", "feature_names"), ["a", "b", "\ud800"], "no printable text"),
        (("learner", "feature_names"), ["a", "b", 3], "no printable text"),
        (("learner", "objective"), {"a": {"b": {"c": {"d": {}}}}}, "objective nests too deep"),
        (("learner", "objective"), {"a": 2**70}, "objective is 1180591620717411303424"),
        ((*TREE, "tree_param", "num_nodes"), "4", "left_children has 3 numbers for a tree of 4"),
        ((*TREE, "left_children"), [1, -1], "has 2 numbers for a tree of 3"),
        ((*TREE, "left_children"), [1, -1, 3], "left_children must be whole numbers"),
        ((*TREE, "left_children"), [1, -1, 2.0], "left_children must be whole numbers"),
        ((*TREE, "left_children"), [1, -1, "2"], "left_children must be numbers, it has a str"),
        ((*TREE, "left_children"), [1, -1, [2]], "left_children must be numbers, it has a list"),
        ((*TREE, "left_children"), [1, -1, True], "left_children must be numbers, it has a bool"),
        ((*TREE, "left_children"), [1, -1, 2**70], "left_children must be whole numbers"),
        ((*TREE, "left_children"), "1,-1,-1", "left_children must be a list"),
        ((*TREE, "left_children"), [0, -1, -1], "two ways lead to"),
        ((*TREE, "left_children"), [2, -1, -1], "two ways lead to"),
        ((*TREE, "left_children"), [-1, -1, -1], "a node with one child"),
        ((*TREE, "right_children"), [2, -1, 0], "a node with one child"),
        ((*TREE, "split_indices"), [3, 0, 0], "splits on feature 3 of 3"),
        ((*TREE, "split_indices"), [-1, 0, 0], "split_indices must be whole numbers from 0"),
        ((*TREE, "default_left"), [2, 0, 0], "default_left must be whole numbers from 0 to 1"),
        ((*TREE, "split_type"), [1, 0, 0], "lacks the categories of a split"),
        ((*TREE, "categories_nodes"), [0], "do not lie where it says"),
        ((*TREE, "leaf_weights"), [1.0], r"has \['leaf_weights'\], which this server does not"),
        ((*TREE, "sum_hessian"), ..., "lacks sum_hessian"),
    ],
)
def test_a_booster_that_is_not_sound_is_unreadable(
    new_booster: NewBooster, path: tuple[Any, ...], value: Any, text: str
) -> None:
    error = refused(text_of(put(new_booster(), path, value)))
    with pytest.raises(BadBoosterError, match=text):
        raise error
    assert error.rc == ReturnCode.RESULT_UNREADABLE


@pytest.mark.parametrize(
    "categories",
    [
        {"categories_nodes": [0], "categories_segments": [1], "categories_sizes": [2]},
        {"categories_nodes": [0, 0], "categories_segments": [0, 1], "categories_sizes": [1, 1]},
        # Each lies where it says, all of them together are more than there is.
        {"categories_nodes": [0, 1], "categories_segments": [0, 0], "categories_sizes": [2, 2]},
    ],
)
def test_categories_that_lie_elsewhere_are_refused(
    new_booster: NewBooster, categories: dict[str, Any]
) -> None:
    found = new_booster()
    tree = found["learner"]["gradient_booster"]["model"]["trees"][0]
    tree |= {"split_type": [1, 0, 0], "categories": [2, 5], **categories}
    assert refused(text_of(found)).rc == ReturnCode.RESULT_UNREADABLE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "begins with b'', which is no JSON"),
        (b"{L\x00\x00\x00", r"save_raw\('json'\), which parameters_of does"),
        (b'{"learner"', "is no JSON"),
        (b'{"a":' + b"[" * 100_000, "is no JSON"),
        (b'{"a":' + b"9" * 100_000 + b"}", "is no JSON"),
        (b'{"a":"\xff"}', "is no JSON"),
        (b'{"a":3}', "lacks learner"),
        (b'{"learner":[]}', "lacks learner.gradient_booster"),
    ],
)
def test_what_is_no_json_of_a_booster_is_unreadable(text: bytes, said: str) -> None:
    error = refused(text)
    with pytest.raises(BadBoosterError, match=said):
        raise error
    assert error.rc == ReturnCode.RESULT_UNREADABLE


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (BoosterLimits(text_bytes=100), "bytes and may have 100"),
        (BoosterLimits(parts=10), "lists and objects"),
        (BoosterLimits(texts=10), "and 10"),
        (BoosterLimits(features=2), "num_feature is 3, it must be from 1 to 2"),
        (BoosterLimits(depth=0), "more than 0 splits deep"),
    ],
)
def test_more_than_the_limits_allow_is_refused(
    new_booster: NewBooster, limits: BoosterLimits, said: str
) -> None:
    error = refused(text_of(new_booster()), limits=limits)
    assert said in str(error)


def test_one_long_text_among_many_numbers_does_not_take_the_room_of_many(
    new_booster: NewBooster,
) -> None:
    bad = ["x" * 1_000_000, *[1] * 1_000_000]
    error = refused(text_of(put(new_booster(), (*TREE, "split_conditions"), bad)))
    assert "split_conditions must be numbers, it has a str" in str(error)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"3.5e38"])
def test_a_number_that_float32_does_not_hold_is_not_finite(
    new_booster: NewBooster, number: bytes
) -> None:
    text = text_of(new_booster(leaf=0.625)).replace(b"-0.625", number)
    assert refused(text).rc == ReturnCode.RESULT_NOT_FINITE


def test_a_base_score_that_is_no_number_is_not_finite(new_booster: NewBooster) -> None:
    text = text_of(new_booster()).replace(b"5E-1", b"nan")
    assert refused(text).rc == ReturnCode.RESULT_NOT_FINITE


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("learner", "gradient_booster", "name"), "dart", "of kind 'dart' cannot be joined"),
        (("learner", "gradient_booster", "name"), "gblinear", "only one of booster='gbtree'"),
        ((*TREE, "tree_param", "size_leaf_vector"), "2", "multi_strategy='one_output_per_tree'"),
    ],
)
def test_a_booster_of_another_kind_is_refused_with_what_works(
    new_booster: NewBooster, path: tuple[Any, ...], value: Any, text: str
) -> None:
    error = refused(text_of(put(new_booster(), path, value)))
    assert error.rc == ReturnCode.RESULT_WRONG_KIND
    assert text in str(error)


@pytest.mark.parametrize("rounds", [0, 3])
def test_other_than_the_rounds_that_were_asked_for_are_refused(
    new_booster: NewBooster, rounds: int
) -> None:
    error = refused(text_of(new_booster(rounds=rounds)), rounds=2)
    assert error.rc == ReturnCode.RESULT_WRONG_SHAPE
    assert f"has {rounds} boosting rounds, the task asks for 2" in str(error)


@pytest.mark.parametrize(
    ("data", "rc"),
    [
        ({}, ReturnCode.RESULT_WRONG_NAMES),
        ({"model": b"{}"}, ReturnCode.RESULT_WRONG_NAMES),
        ({"booster": "{}"}, ReturnCode.RESULT_WRONG_KIND),
        ({"booster": None}, ReturnCode.RESULT_WRONG_KIND),
    ],
)
def test_a_model_without_a_boosters_bytes_is_refused(data: dict[str, Any], rc: str) -> None:
    with pytest.raises(BadBoosterError) as caught:
        booster_of(DXO(DataKind.WEIGHTS, data))
    assert caught.value.rc == rc
