"""Whatever a received model holds as a tensor, its memory shared where that can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from federant.codec import TorchArray


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
    return np.asarray(value).view(TorchArray).tensor()
