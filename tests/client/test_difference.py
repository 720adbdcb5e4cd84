"""The difference of a model from the one received, and what has none."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from federant.client import DifferenceError
from federant.client.difference import Received


def test_of_floats_it_is_computed_in_the_memory_of_what_was_received() -> None:
    received = np.array([1.0, 2.0], np.float32)
    new = np.array([1.5, 1.0], np.float32)
    found = Received({"w": received}).difference({"w": new})["w"]
    assert found is received
    np.testing.assert_array_equal(found, [0.5, -1.0])
    np.testing.assert_array_equal(new, [1.5, 1.0])


def test_no_third_model_is_in_memory() -> None:
    received = Received({"w": np.zeros(2_000_000)})
    new = {"w": np.ones(2_000_000)}
    tracemalloc.start()
    received.difference(new)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < new["w"].nbytes / 10


def test_what_was_received_can_be_spared() -> None:
    received = np.ones(2)
    found = Received({"w": received}).difference({"w": np.zeros(2)}, spare=True)
    np.testing.assert_array_equal(found["w"], [-1.0, -1.0])
    np.testing.assert_array_equal(received, [1.0, 1.0])


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (np.array([5], np.uint8), np.array([7], np.uint8), np.array([-2])),
        (np.array([0], np.uint64), np.array([2**64 - 1], np.uint64), np.array([1])),
        (np.array([-128], np.int8), np.array([127], np.int8), np.array([-255])),
        (np.array([True, False]), np.array([False, True]), np.array([1, -1])),
        (np.int64(9), np.int64(4), np.int64(5)),
        (np.array(2 + 1j), np.array(1j), np.array(2 + 0j)),
        (7, 5, 2),
        (True, False, 1),
        (0.5, 2, -1.5),
        (np.array(["a"]), np.array(["b"]), np.array(["a"])),
    ],
)
def test_numbers_of_every_kind_have_one(new: Any, old: Any, expected: Any) -> None:
    found = Received({"x": old}).difference({"x": new})["x"]
    np.testing.assert_array_equal(found, expected)
    assert np.asarray(found).dtype.kind == np.asarray(expected).dtype.kind


def test_what_is_no_number_goes_as_it_is() -> None:
    old = {"count": None, "tree": b"old", "parts": [np.ones(1), "text"], "deep": {"t": (1, None)}}
    new = {"count": None, "tree": b"new", "parts": [np.ones(1), "text"], "deep": {"t": (3, None)}}
    found = Received(old).difference(new)
    np.testing.assert_array_equal(found["parts"].pop(0), [0.0])
    assert found == {"count": None, "tree": b"new", "parts": ["text"], "deep": {"t": (2, None)}}


def test_arrays_sent_back_untouched_have_a_difference_of_zero() -> None:
    frozen, shared = np.ones(3), np.ones(3)
    old = {"frozen": frozen, "a": shared, "b": shared, "w": np.ones(3)}
    found = Received(old).difference({"frozen": frozen, "a": shared, "b": shared + 1, "w": frozen})
    assert [float(array[0]) for array in found.values()] == [0.0, 0.0, 1.0, 0.0]


def test_keys_that_are_not_sent_are_left_out() -> None:
    assert Received({"a": 1, "b": 2}).difference({"a": 3}) == {"a": 2}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ({"a": 1}, {"b": 1}, "no key is common .*; sent b; received a"),
        ({}, {"b": 1}, "no key is common"),
        ({"a": 1}, {"a": 1, "b": 2}, "'b' is in the model sent and not in the model received"),
        ({"n": {"w": np.ones(2)}}, {"n": {"w": np.ones(3)}}, r"'n.w' has shape \(3,\) .* \(2,\)"),
        ({"w": np.ones(2)}, {"w": 1.0}, r"'w' has shape \(\) in the model sent"),
        ({"w": [1, 2]}, {"w": [1]}, "'w' has 1 parts, 2 were received"),
    ],
)
def test_what_does_not_fit_is_named(old: Any, new: Any, message: str) -> None:
    with pytest.raises(DifferenceError, match=message):
        Received(old).difference(new)


def test_training_in_the_received_arrays_themselves_is_found_out() -> None:
    params = {"w": np.ones(4), "b": np.ones(1)}
    received = Received(params)
    params["w"] += 1
    with pytest.raises(DifferenceError, match="'w' of the model received was changed in place"):
        received.difference({"w": params["w"].copy(), "b": np.ones(1)})


def test_it_is_taken_once() -> None:
    received = Received({"w": np.ones(1)})
    received.difference({"w": np.ones(1)})
    with pytest.raises(RuntimeError, match="was taken before"):
        received.difference({"w": np.ones(1)})


def test_one_that_was_not_sent_can_be_had_again_of_the_very_same_params() -> None:
    received = Received({"w": np.ones(1), "deep": [np.ones(1), 1]})
    new = {"w": np.full(1, 3.0), "deep": [np.full(1, 2.0), 5]}
    found = received.difference(new)
    received.keep(new)
    assert received.difference(new) is found
    assert (found["w"][0], found["deep"][0][0], found["deep"][1]) == (2.0, 1.0, 4)
    for other in ({**new, "deep": [np.full(1, 2.0), 6]}, {**new, "w": np.ones(1)}, {"w": new["w"]}):
        with pytest.raises(DifferenceError, match="only the very params that were sent then"):
            received.difference(other)


def test_what_does_not_fit_leaves_what_was_received_as_it_was() -> None:
    received = Received({"a": np.ones(1), "b": np.ones(2)})
    with pytest.raises(DifferenceError, match="'b' has shape"):
        received.difference({"a": np.full(1, 3.0), "b": np.ones(1)})
    found = received.difference({"a": np.full(1, 3.0), "b": np.ones(2)})
    assert (found["a"][0], found["b"].tolist()) == (2.0, [0.0, 0.0])
