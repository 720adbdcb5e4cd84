"""jax's arrays, and what stands for them in a process that has not imported jax.

jax is never imported for a frame's sake: an array of its can only be met where jax is, and where it
is not its values become a JaxArray.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

import numpy as np
from msgpack import ExtType

from federant.codec.dtypes import Form, form_of
from federant.codec.kinds import codes
from federant.codec.kinds.imported import imported
from federant.codec.writer import Write, Writer

OWN_DTYPES: Final = frozenset({"<c16", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz"})
"""The dtypes of jax that safetensors lacks, by our names."""


class JaxArray(np.ndarray[Any, Any]):
    """The values of a jax array as a numpy array that remembers where they come from.

    What a frame gives for a jax array in a process that has not imported jax. It is to jax what
    TorchArray is to torch: an array as any other, which a frame makes a jax array again.
    """

    def array(self) -> Any:
        """The jax array with these values, which imports jax; they are copied."""
        return _array(self)


def find_write(value: object) -> Write | None:
    """How a jax array is written; None for anything else."""
    kind = getattr(sys.modules.get("jax"), "Array", None)
    return _write_array if kind is not None and isinstance(value, kind) else None


def write_jax_array(writer: Writer, array: np.ndarray[Any, Any]) -> object:
    form = form_of(array.dtype)
    if form is None or (form.own and form.name not in OWN_DTYPES):
        raise writer.refusal(
            f"it is an array of jax of dtype {array.dtype}; of jax, the dtypes bool, int8 to "
            "int64, uint8 to uint64, float16 to float64, bfloat16, float8_*, complex64 and "
            "complex128 travel"
        )
    return _reference(writer, array, form)


def read_array(array: np.ndarray[Any, Any], *, own: bool) -> object:
    """A jax array if `own` and jax has been imported, else a JaxArray."""
    return _array(array) if own and imported("jax") else array.view(JaxArray)


def _write_array(writer: Writer, value: Any) -> object:
    jax = sys.modules["jax"]
    if isinstance(value, jax.core.Tracer):
        raise writer.refusal("it is traced by jax and has no values yet; send what jit returns")
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):
        raise writer.refusal(
            f"it is a jax array of dtype {value.dtype}; for a random key, send "
            "jax.random.key_data(key)"
        )
    if not value.is_fully_addressable:
        raise writer.refusal("it is a jax array of which other processes hold parts; gather it")
    try:
        array = np.asarray(value)
    except RuntimeError as error:  # it was deleted, or donated to a computation
        raise writer.refusal(f"jax does not give the array's values: {error}") from error
    return write_jax_array(writer, array)


def _reference(writer: Writer, array: np.ndarray[Any, Any], form: Form) -> ExtType:
    code = codes.TYPED_JAX_ARRAY if form.own else codes.JAX_ARRAY
    return ExtType(code, writer.set_aside(array, form))


def _array(array: np.ndarray[Any, Any]) -> Any:
    jax = import_module("jax")
    array = np.asarray(array)
    if jax.dtypes.canonicalize_dtype(array.dtype) == array.dtype:
        return jax.numpy.array(array)
    # jax would silently make 32 bits of 64.
    with _enable_x64(jax)(True):
        return jax.numpy.array(array)


def _enable_x64(jax: Any) -> Any:
    """jax's context manager for 64 bits, which has moved."""
    return jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
