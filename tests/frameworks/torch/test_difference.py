"""The difference of a PyTorch model from the one received."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from federant.client import DifferenceError
from federant.client.difference import Received


def test_it_is_computed_in_the_memory_of_what_was_received() -> None:
    old = torch.tensor([1.0, 2.0])
    new = torch.nn.Parameter(torch.tensor([1.5, 1.0]))
    found = Received({"w": old}).difference({"w": new})["w"]
    assert found.data_ptr() == old.data_ptr()
    assert not found.requires_grad
    torch.testing.assert_close(found, torch.tensor([0.5, -1.0]))


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (torch.tensor(9), torch.tensor(4), torch.tensor(5)),
        (torch.tensor([5], dtype=torch.uint8), torch.tensor([7], dtype=torch.uint8), [-2]),
        (torch.tensor([True, False]), torch.tensor([False, True]), [1, -1]),
        (torch.tensor([1 + 1j]), torch.tensor([1j]), torch.tensor([1 + 0j])),
        (
            torch.tensor([2.0], dtype=torch.bfloat16),
            torch.tensor([0.5], dtype=torch.bfloat16),
            torch.tensor([1.5], dtype=torch.bfloat16),
        ),
        (torch.tensor([2.0]), np.array([0.5], np.float32), torch.tensor([1.5])),
        (np.array([2.0], np.float32), torch.tensor([0.5]), torch.tensor([1.5])),
    ],
)
def test_tensors_of_every_kind_have_one(new: Any, old: Any, expected: Any) -> None:
    found = Received({"x": old}).difference({"x": new})["x"]
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected))


def test_tied_weights_have_theirs_once_each() -> None:
    tied = torch.ones(2)
    found = Received({"a": tied, "b": tied}).difference({"a": tied + 1, "b": tied + 2})
    torch.testing.assert_close(found["a"], torch.ones(2))
    torch.testing.assert_close(found["b"], torch.full((2,), 2.0))


def test_training_in_the_received_tensors_is_found_out() -> None:
    params = {"w": torch.ones(4), "b": torch.tensor(1.0, dtype=torch.bfloat16)}
    received = Received(params)
    params["b"].add_(1)
    with pytest.raises(DifferenceError, match="'b' of the model received was changed in place"):
        received.difference(params)


def test_tensors_of_another_shape_have_none() -> None:
    with pytest.raises(DifferenceError, match=r"'w' has shape \(3,\) in the model sent and \(2,\)"):
        Received({"w": torch.ones(2)}).difference({"w": torch.ones(3)})
