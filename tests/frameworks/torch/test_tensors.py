"""Received values as tensors."""

from __future__ import annotations

import warnings

import ml_dtypes
import numpy as np
import pytest
import torch

from federant.client.torch.tensors import tensor_of


def test_an_array_shares_its_memory():
    array = np.zeros(3, np.float32)
    tensor_of(array)[1] = 5.0
    assert array.tolist() == [0.0, 5.0, 0.0]


def test_a_read_only_array_is_copied_without_a_warning():
    array = np.arange(3.0)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor_of(array)[0] = 9.0
    assert array.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3)[::-1],
        np.arange(6.0).reshape(2, 3).T,
        np.arange(6, dtype=">i4"),
        np.float32(2.5),
        np.array(7),
        np.zeros((0, 3), np.float16),
        np.array([True, False]),
        np.array([1 + 2j], np.complex64),
        3,
        True,
    ],
    ids=str,
)
def test_every_array_keeps_its_values_and_shape(value):
    tensor = tensor_of(value)
    assert tuple(tensor.shape) == np.shape(value)
    np.testing.assert_array_equal(tensor.numpy(), value)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_the_small_floats_of_ml_dtypes_become_torchs(name):
    for shape in [(3,), (), (0, 2)]:
        array = np.full(shape, 1.5, getattr(ml_dtypes, name))
        tensor = tensor_of(array)
        assert tensor.dtype == getattr(torch, name)
        assert tuple(tensor.shape) == shape
        assert tensor.float().tolist() == array.astype(np.float32).tolist()


@pytest.mark.parametrize("value", ["text", None, [1.0], np.array(["text"]), np.datetime64("2026")])
def test_what_has_no_tensor_is_refused(value):
    with pytest.raises(TypeError, match=r"tensor can be made|has no dtype"):
        tensor_of(value)
