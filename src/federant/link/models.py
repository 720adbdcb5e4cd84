"""Models as an operator has them: arrays by name, safetensors files, and DXOs; no calls."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from federant.codec import FrameError, decode, is_framework_array, read_tensors
from federant.exchange import DXO, DataKind

Model = DXO | Mapping[str, Any] | str | os.PathLike[str]
"""A DXO, named arrays, or the path of a safetensors file."""


def as_dxo(model: Model) -> DXO:
    """TypeError for what is no model, ValueError for a file that holds none."""
    if isinstance(model, DXO):
        return model
    if isinstance(model, Mapping):
        return DXO(DataKind.WEIGHTS, data={name: _as_array(model[name]) for name in model})
    if isinstance(model, str | os.PathLike):
        return read_model(Path(model))
    raise TypeError(
        f"a model must be a DXO, a mapping of names to arrays, or the path of a safetensors file; "
        f"got {type(model).__name__}"
    )


def _as_array(value: object) -> object:
    """A list or number as an array; a tensor of torch or jax stays what it is."""
    return value if is_framework_array(value) else np.asarray(value)


def read_model(path: Path) -> DXO:
    """A model of ours as it was saved; of another's safetensors file, its tensors as weights."""
    data = path.read_bytes()
    try:
        body = decode(data).body
    except FrameError:
        body = None
    if isinstance(body, DXO):
        return body
    try:
        return DXO(DataKind.WEIGHTS, data=dict(read_tensors(data)))
    except FrameError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error
