"""The difference of a trained model from the one that was received, without a third model.

No framework is imported: torch tensors are known only where the script has imported torch.
"""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from federant.client.errors import DifferenceError

_Path = tuple[Any, ...]


class Received:
    """The params that came with a task, until the difference from them is wanted.

    Their arrays belong to whoever holds this: the difference is computed into them. So a script
    that trained in them, in place, has no difference to send any more, and is told so.
    """

    def __init__(self, params: Any) -> None:
        self._params = params
        self._sums = {path: _checksum(array) for path, array in _arrays(params)}
        self._spent = False
        self._found: Any = None
        self._kept: dict[_Path, Any] | None = None

    def difference(self, params: Any, *, spare: bool = False) -> Any:
        """``params`` minus what was received, key by key, in the same structure.

        Of floating point and complex arrays of one dtype it is computed into what was received,
        unless ``spare`` is True; of integers and bools it is a signed integer. What is no number
        (None, bytes, text) is taken from ``params`` as it is. Keys that ``params`` lack are left
        out.

        DifferenceError: no key is common, ``params`` have a key or a shape that was not received,
        what was received was changed in place, or the difference of other params has been taken.
        """
        if self._spent:
            if self._kept is not None and self._kept == _print_of(params):
                return self._found
            raise DifferenceError(
                "the difference was taken before, into what was received: only the very params "
                "that were sent then can be sent again"
            )
        self._check_untouched()
        common = isinstance(params, dict) and isinstance(self._params, dict)
        if common and params and not params.keys() & self._params.keys():
            raise DifferenceError(
                "no key is common to the model sent and the model received: the task wants their "
                f"difference; sent {_named(params)}; received {_named(self._params)}"
            )
        _walked((), params, self._params, _nothing)  # while all of it is as it was received
        self._spent = not spare
        usable = set() if spare else self._usable(params)
        self._found = _walked((), params, self._params, partial(_minus, usable=usable))
        return self._found

    def keep(self, params: Any) -> None:
        """The difference of ``params`` was not sent: it may be asked for once more."""
        if self._spent:
            self._kept = _print_of(params)

    def _check_untouched(self) -> None:
        for path, array in _arrays(self._params):
            if self._sums.get(path) != _checksum(array):
                raise DifferenceError(
                    f"{_text(path)} of the model received was changed in place, so the difference "
                    "from it, which the task wants, is lost: train on a copy of what receive() "
                    "gives"
                )

    def _usable(self, params: Any) -> set[int]:
        """Addresses of received arrays that can be written to: nobody else reads them."""
        received = Counter(_address(array) for _, array in _arrays(self._params))
        sent = {_address(array) for _, array in _arrays(params)}
        return {place for place, count in received.items() if count == 1 and place not in sent}


def _walked(path: _Path, new: Any, old: Any, minus: Callable[[Any, Any], Any]) -> Any:
    """The same structure with what ``minus`` makes of each two numbers; DifferenceError."""
    if isinstance(new, dict) and isinstance(old, dict):
        extra = [key for key in new if key not in old]
        if extra:
            raise DifferenceError(
                f"{_text((*path, extra[0]))} is in the model sent and not in the model received, "
                "so it has no difference, which the task wants; send what was received and "
                "nothing else"
            )
        return {key: _walked((*path, key), new[key], old[key], minus) for key in new}
    if isinstance(new, list | tuple) and isinstance(old, list | tuple):
        if len(new) != len(old):
            raise DifferenceError(f"{_text(path)} has {len(new)} parts, {len(old)} were received")
        parts = [
            _walked((*path, at), *pair, minus) for at, pair in enumerate(zip(new, old, strict=True))
        ]
        return tuple(parts) if isinstance(new, tuple) else parts
    if not (_is_number(new) and _is_number(old)):
        return new
    shapes = tuple(getattr(new, "shape", ())), tuple(getattr(old, "shape", ()))
    if shapes[0] != shapes[1]:
        raise DifferenceError(
            f"{_text(path)} has shape {shapes[0]} in the model sent and {shapes[1]} in the model "
            "received, so it has no difference, which the task wants"
        )
    try:
        return minus(new, old)
    except (TypeError, RuntimeError) as error:
        raise DifferenceError(
            f"{_text(path)} has no difference, which the task wants: sent a "
            f"{type(new).__name__}, received a {type(old).__name__}: {error}"
        ) from error


def _nothing(_new: Any, _old: Any) -> None:
    """In the place of a difference, where only the structures are compared."""


def _minus(new: Any, old: Any, usable: set[int]) -> Any:
    if _is_tensor(new):
        return _tensors_minus(new, old, usable)
    if _is_tensor(old):
        old = old.detach().cpu().numpy()
    if isinstance(new, np.ndarray | np.generic):
        return _arrays_minus(new, old, usable)
    if isinstance(new, bool | int) and isinstance(old, bool | int):
        return int(new) - int(old)
    return new - old


def _arrays_minus(new: Any, old: Any, usable: set[int]) -> Any:
    if new.dtype.kind in "biu":
        # Modulo 2^64 the difference is right, also of unsigned ones.
        return new.astype(np.int64) - np.asarray(old).astype(np.int64)
    is_array = isinstance(old, np.ndarray) and isinstance(new, np.ndarray)
    if is_array and old.dtype == new.dtype and old.flags.writeable and _address(old) in usable:
        return np.subtract(new, old, out=old)
    return np.subtract(new, old)


def _tensors_minus(new: Any, old: Any, usable: set[int]) -> Any:
    torch = sys.modules["torch"]
    if not _is_tensor(old):
        array = np.asarray(old)
        old = torch.as_tensor(array if array.flags.writeable else array.copy())
    old = old.detach()
    # What travels lies in the memory of the host, as what came does.
    new = new.detach().to(old.device)
    if not (new.is_floating_point() or new.is_complex()):
        return new.to(torch.int64) - old.to(torch.int64)
    if old.dtype == new.dtype and _address(old) in usable:
        return torch.sub(new, old, out=old)
    return new - old


def _arrays(tree: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _arrays(value, (*path, key))
    elif isinstance(tree, list | tuple):
        for at, value in enumerate(tree):
            yield from _arrays(value, (*path, at))
    elif _is_array(tree):
        yield path, tree


def _print_of(tree: Any, path: _Path = ()) -> dict[_Path, Any]:
    """By path a checksum of each array, and what is no array itself."""
    if isinstance(tree, dict):
        parts = list(tree.items())
    elif isinstance(tree, list | tuple):
        parts = list(enumerate(tree))
    elif _is_array(tree):
        return {path: _checksum(tree)}
    elif hasattr(tree, "shape"):  # an array of jax, or a scalar of numpy
        return {path: _checksum(np.asarray(tree))}
    else:
        return {path: tree}
    found: dict[_Path, Any] = {}
    for key, part in parts:
        found.update(_print_of(part, (*path, key)))
    return found


def _checksum(array: Any) -> int:
    """Tells whether somebody wrote to it; nobody means to deceive it."""
    if _is_tensor(array):
        torch = sys.modules["torch"]
        array = array.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    if array.dtype.hasobject:
        return 0
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _address(array: Any) -> int:
    if _is_tensor(array):
        return int(array.data_ptr())
    place: int = array.__array_interface__["data"][0]
    return place


def _is_number(value: Any) -> bool:
    """Whether a difference can be taken of it."""
    if isinstance(value, np.ndarray | np.generic):
        # V: bfloat16 and its kin, which are no kind of numpy's own.
        return value.dtype.kind in "biufcV" and value.dtype.names is None
    return hasattr(value, "shape") or isinstance(value, bool | int | float | complex)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or _is_tensor(value)


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, getattr(torch, "Tensor", ()))


def _text(path: _Path) -> str:
    return repr(".".join(map(str, path))) if path else "the model"


def _named(params: dict[Any, Any]) -> str:
    names = sorted(map(str, params))
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
