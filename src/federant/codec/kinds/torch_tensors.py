"""torch's tensors, and what stands for them in a process that has not imported torch.

torch is never imported for a frame's sake: a tensor can only be met where torch is, and where it is
not its values become a TorchArray.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np
from msgpack import ExtType

from federant.codec.dtypes import DTYPES, ML_DTYPES, Form, form_of
from federant.codec.kinds import codes
from federant.codec.kinds.imported import imported
from federant.codec.writer import Write, Writer

OWN_DTYPES: Final = frozenset({"<c16"})
"""The dtypes of torch that safetensors lacks, by our names."""

_NAMES: Final = {
    **{name: dtype.name for name, dtype in DTYPES.items()},
    **ML_DTYPES,
    "<c16": "complex128",
}
"""torch's name of a dtype by ours: numpy's and ml_dtypes' are torch's too."""

_AS_INTEGERS: Final = {1: "uint8", 2: "int16"}
"""How torch and numpy both look at the elements of a dtype that only torch knows, by their size."""


class TorchArray(np.ndarray[Any, Any]):
    """The values of a torch tensor as a numpy array that remembers where they come from.

    What a frame gives for a torch tensor in a process that has not imported torch: at the server,
    in a client job, in a trainer that works with numpy. It behaves as any array does, what numpy
    computes from it is one too where numpy keeps subclasses (`w * 0.5`, `w[1:]`, `w.astype(...)`),
    and in a frame it becomes a torch tensor again. `array.view(TorchArray)` marks an array;
    `np.asarray(array)` takes the mark away.
    """

    def tensor(self) -> Any:
        """The torch tensor with these values, which imports torch; in the array's memory if it can.

        TypeError for a dtype that torch does not have.
        """
        return _tensor(self)


class _Dtype(NamedTuple):
    form: Form
    view: Any
    """The torch dtype as which numpy can look at it, None if as itself."""


def find_write(value: object) -> Write | None:
    """How a torch tensor is written; None for anything else."""
    kind = getattr(sys.modules.get("torch"), "Tensor", None)
    return _write_tensor if kind is not None and isinstance(value, kind) else None


def write_torch_array(writer: Writer, array: np.ndarray[Any, Any]) -> object:
    form = form_of(array.dtype)
    if form is None or (form.own and form.name not in OWN_DTYPES):
        raise writer.refusal(
            f"it is a TorchArray of dtype {array.dtype}, which torch does not have; "
            "send numpy.asarray(array)"
        )
    return _reference(writer, array, form)


def read_tensor(array: np.ndarray[Any, Any], *, own: bool) -> object:
    """A torch tensor if `own` and torch has been imported, else a TorchArray."""
    return _tensor(array) if own and imported("torch") else array.view(TorchArray)


def _write_tensor(writer: Writer, tensor: Any) -> object:
    found = _dtypes().get(tensor.dtype)
    if found is None:
        raise writer.refusal(
            f"it is a tensor of dtype {tensor.dtype}; torch tensors of these travel: "
            + ", ".join(_NAMES.values())
        )
    _check(writer, tensor)
    try:
        values = _on_host(tensor.detach()).resolve_conj().resolve_neg()
        array = (values if found.view is None else values.view(found.view)).numpy()
    except RuntimeError as error:
        raise writer.refusal(f"torch does not give the tensor's values: {error}") from error
    return _reference(writer, array, found.form)


def _reference(writer: Writer, array: np.ndarray[Any, Any], form: Form) -> ExtType:
    code = codes.TYPED_TORCH_TENSOR if form.own else codes.TORCH_TENSOR
    return ExtType(code, writer.set_aside(array, form))


def _check(writer: Writer, tensor: Any) -> None:
    torch = sys.modules["torch"]
    if tensor.layout is not torch.strided:
        raise writer.refusal(f"it is a tensor of layout {tensor.layout}; send tensor.to_dense()")
    if tensor.is_meta:
        raise writer.refusal("it is a tensor on the meta device, which has no values")
    kind = type(tensor)
    if kind.__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        raise writer.refusal(
            f"it is a {kind.__module__}.{kind.__qualname__}, whose values are elsewhere; "
            "send the plain tensor (for a DTensor: tensor.full_tensor())"
        )


def _on_host(tensor: Any) -> Any:
    """The tensor in the processor's memory, with all its values: itself if it is there."""
    if tensor.device.type != "cuda" or not tensor.numel():
        return tensor.cpu()
    torch = sys.modules["torch"]
    try:
        # The card writes to pinned memory by itself; torch keeps such memory for the next tensor.
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    except RuntimeError:
        # There is a limit to what can be pinned, and torch rounds up to a power of two.
        _forget_failure(torch, tensor.device)
        return tensor.cpu()
    # In the order of the calling thread's stream, as .cpu(), and back only when it is done: with
    # non_blocking the bytes could be read before they are there.
    return host.copy_(tensor)


def _forget_failure(torch: Any, device: Any) -> None:
    """CUDA tells of memory that it could not pin a second time, to the next kernel: to this one.

    As reported of torch 2.14 in https://github.com/MakazhanAlpamys/Soup/pull/989.
    """
    with suppress(RuntimeError):
        torch.ones(1, device=device)


def _tensor(array: np.ndarray[Any, Any]) -> Any:
    torch = import_module("torch")
    form = form_of(array.dtype)
    name = None if form is None else _NAMES.get(form.name)
    if form is None or name is None or not hasattr(torch, name):
        raise TypeError(f"torch {torch.__version__} has no dtype for numpy's {array.dtype}")
    if not array.size:
        return torch.empty(array.shape, dtype=getattr(torch, name))
    if form.big_endian:
        array = array.astype(form.written)
    # What torch takes no view of, or would write to though it must not.
    flags = array.flags
    if not (flags.writeable and flags.aligned) or any(stride < 0 for stride in array.strides):
        array = array.copy()
    array = np.asarray(array)
    if form.view is None:
        return torch.from_numpy(array)
    integers = array.view(_AS_INTEGERS[array.itemsize])
    return torch.from_numpy(integers).view(getattr(torch, name))


@cache
def _dtypes() -> dict[Any, _Dtype]:
    """By torch's dtype."""
    torch = sys.modules["torch"]
    known = {}
    for name, torch_name in _NAMES.items():
        dtype = getattr(torch, torch_name, None)
        if dtype is None:
            continue
        view = _AS_INTEGERS[dtype.itemsize] if name in ML_DTYPES else None
        written = np.dtype(view or torch_name).newbyteorder("<")
        form = Form(name, name in OWN_DTYPES, False, None, written)
        known[dtype] = _Dtype(form, view and getattr(torch, view))
    return known
