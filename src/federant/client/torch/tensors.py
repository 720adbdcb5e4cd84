"""Whatever a received model holds as a tensor, its memory shared where that can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def tensor_of(value: Any) -> torch.Tensor:
    """A tensor of the same dtype, shape and values, on the CPU if the value is an array.

    Takes tensors, numpy arrays and scalars of every dtype that torch has, those of ml_dtypes
    (bfloat16, float8) too, and Python's numbers. TypeError for anything else.
    """
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, bool | int | float | complex):
        return torch.tensor(value)
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"a tensor can be made of an array, not of a {type(value).__name__}")
    array = np.asarray(value)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch can share neither
    try:
        return torch.from_numpy(array)
    except TypeError:
        dtype = getattr(torch, array.dtype.name, None)
        if not isinstance(dtype, torch.dtype) or dtype.itemsize != array.dtype.itemsize:
            raise TypeError(f"torch has no dtype {array.dtype}") from None
    bits = np.ascontiguousarray(array).view(f"u{dtype.itemsize}")
    return torch.from_numpy(bits).view(dtype).reshape(array.shape)
