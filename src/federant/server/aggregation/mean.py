"""The weighted mean of the models that sites return, added in as they arrive; no input or output.

A model's data is a tree: dicts, lists and tuples whose leaves are arrays, numbers or other values.
How a leaf is averaged follows from its type in the global model (in the first result, where there
is no global model yet):

- floating point (bfloat16 and float8 too) and complex: the weighted mean, rounded once to the
  leaf's dtype;
- integers (a count of batches, say): the weighted mean rounded to the nearest integer;
- bool: True where at least half of the weight says True;
- anything else (None, a str): not averaged; what the global model has stays. An array of which
  there is no mean (of dates, of strings) is an error.

An array that stands for a framework's tensor (TorchArray, JaxArray) gets a mean that does so too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from federant.codec import JaxArray, TorchArray
from federant.exchange import DXO, DataKind
from federant.server.aggregation.numbers import AVERAGED, dtype_text, kind_of, rounded, summed_in

Path = tuple[Any, ...]
"""Where a leaf lies in a tree: the keys and indices from the root to it."""

_CHUNK: Final = 64 * 1024
"""Elements multiplied at a time: the scratch of 512 KiB stays in the processor's cache."""
_PART: Final = 1 << 20
"""Elements that one of the two threads adds at a time."""

_NUMBERS: Final = (bool, int, float, complex)


class AggregationError(ValueError):
    """A result that cannot be added to what was added before it, or a mean that is no model."""


def leaves(tree: object, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The values of a tree that are no dict, list or tuple, each with its path, in order."""
    for key, value in _children(tree):
        if isinstance(value, dict | list | tuple):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def path_text(path: Path) -> str:
    """A leaf's path as people write it, ``layer1.weight``: the name of its tensor in a frame."""
    return ".".join(text_of(part) or "(a number of very many digits)" for part in path)


def text_of(part: object) -> str | None:
    """A key as text; None for an int of more digits than Python writes, or a tuple of one."""
    try:
        return str(part)
    except ValueError:
        return None


class WeightedMean:
    """Adds models in place, each with its weight; memory does not grow with their number.

    ``model`` is the global model (kind WEIGHTS) from which the results come; without one the
    first result says what there is to be averaged.  Whole models and differences from the global
    model may be mixed.  ``dtype`` is the accumulators': with float64 the order in which float32
    models arrive does not show in the mean.  ``spare`` is one whose mean was taken and is not
    looked at any more: its memory is used again, which costs far less than the system's new pages.
    Not thread-safe.
    """

    def __init__(
        self,
        model: DXO | None = None,
        *,
        dtype: DTypeLike = np.float64,
        spare: WeightedMean | None = None,
    ) -> None:
        self.count = 0
        """How many results have been added."""
        self.weight = 0.0
        """The sum of their weights."""
        self._dtype = np.dtype(dtype)
        self._difference_weight = 0.0
        self._model = model if model is not None and model.data else None
        self._sums: Any = None
        self._free = {} if spare is None else spare._give_up()  # noqa: SLF001 - one of this class
        if self._model is not None:
            self._sums = self._sums_like(self._model.data)

    def add(self, result: DXO, weight: float) -> None:
        """Add a model (WEIGHTS) or its difference from the global model (WEIGHT_DIFF).

        AggregationError, with nothing added, if its kind is another, its names or shapes are not
        those of the model, or ``weight`` is no finite number above zero.
        """
        if result.data_kind not in (DataKind.WEIGHTS, DataKind.WEIGHT_DIFF):
            raise AggregationError(
                f"a DXO of kind {result.data_kind} cannot be averaged; "
                f"{DataKind.WEIGHTS} or {DataKind.WEIGHT_DIFF} can"
            )
        if not 0 < weight < float("inf"):
            raise AggregationError(f"a weight must be a finite number above zero, got {weight!r}")
        if self.weight + weight == float("inf"):
            raise AggregationError(f"a weight of {weight!r} makes the sum of all weights infinite")
        difference = result.data_kind == DataKind.WEIGHT_DIFF
        if difference and self._model is None:
            raise AggregationError(
                "a difference needs a global model to be added to: there is none"
            )
        if self._sums is None:
            self._sums = self._sums_like(result.data)
        pairs = self._matched(result.data)
        _add_all(pairs, weight)
        self.count += 1
        self.weight += weight
        if difference:
            self._difference_weight += weight

    def mean(self) -> DXO:
        """The mean as a DXO of kind WEIGHTS with the model's dtypes; nothing can be added any more.

        Its arrays lie in the accumulators' memory, of which they may need only a part.

        AggregationError if nothing was added, or a value does not fit its dtype: no mean holds
        an infinity or a NaN.
        """
        if self._sums is None or not self.count:
            raise AggregationError("there is no mean of no results")
        base = dict(leaves(self._model.data)) if self._model and self._difference_weight else {}

        def finish(path: Path, total: _Sum) -> Any:
            try:
                return total.mean(self.weight, base.get(path), self._difference_weight)
            except FloatingPointError as error:
                raise AggregationError(
                    f"the mean of {path_text(path)!r} does not fit {total.dtype}: {error}"
                ) from error

        sums, self._sums, self.count = self._sums, None, 0
        mean = DXO(DataKind.WEIGHTS, _mapped(sums, finish))
        self._free = {path: total.spare for path, total in leaves(sums)}
        return mean

    def _give_up(self) -> dict[Path, NDArray[Any] | None]:
        free, self._free = self._free, {}
        return free

    def _sums_like(self, data: dict[str, Any]) -> Any:
        def begin(path: Path, value: Any) -> _Sum:
            dtype = _dtype(value)
            if isinstance(value, np.ndarray) and kind_of(dtype) not in AVERAGED:
                raise AggregationError(
                    f"{path_text(path)!r} is an array of dtype {dtype_text(dtype)}, of which there "
                    "is no mean"
                )
            return _Sum(value, self._dtype, self._free.pop(path, None))

        return _mapped(data, begin)

    def _matched(self, data: dict[str, Any]) -> list[tuple[_Sum, Any]]:
        """Each sum with the value to be added to it, after everything has been checked."""
        sums = dict(leaves(self._sums))
        values = dict(leaves(data))
        if sums.keys() != values.keys():
            lacking = sorted(map(path_text, sums.keys() - values.keys()))
            extra = sorted(map(path_text, values.keys() - sums.keys()))
            raise AggregationError(f"the result lacks {lacking} and has {extra} too many")
        for path, value in values.items():
            if not sums[path].takes(value):
                raise AggregationError(
                    f"{path_text(path)!r} has shape {np.shape(value)}, not {sums[path].shape}"
                )
        return [(sums[path], value) for path, value in values.items()]


class _Sum:
    """One leaf's weighted sum, and how to turn it back into what the leaf was."""

    __slots__ = ("_back", "_kept", "_kind", "_mark", "_total", "dtype", "shape", "spare")

    def __init__(
        self, value: Any, accumulator: np.dtype[Any], spare: NDArray[Any] | None = None
    ) -> None:
        self.spare: NDArray[Any] | None = None
        """The accumulator, once the mean was taken, which may lie in it."""
        self._kept = value
        self._back: Callable[[NDArray[Any]], Any] | None = None
        self._total: NDArray[Any] | None = None
        self.shape: tuple[int, ...] = value.shape if isinstance(value, np.ndarray) else ()
        self.dtype = _dtype(value)
        self._kind = kind_of(self.dtype)
        self._mark = type(value) if isinstance(value, TorchArray | JaxArray) else None
        if self._kind in AVERAGED:
            self._total = _zeros(self.shape, summed_in(self.dtype, accumulator), spare)
            if type(value) in _NUMBERS:
                self._back = type(value)
            elif isinstance(value, np.generic):
                self._back = self.dtype.type
            # A reference to the value would keep the file mapped in which it lies.
            self._kept = None

    def takes(self, value: Any) -> bool:
        averaged = self._total is None or kind_of(_dtype(value)) in AVERAGED
        return averaged and np.shape(value) == self.shape

    def parts(self, value: Any) -> Iterator[_Part]:
        """What is to be done to add the value: no two touch the same numbers."""
        if self._total is None:
            return
        total, values = self._total.reshape(-1), np.asarray(value).reshape(-1)
        for start in range(0, total.size, _PART):
            yield total[start : start + _PART], values[start : start + _PART]

    def mean(self, weight: float, base: Any, base_weight: float) -> Any:
        """(sum + base_weight * base) / weight: differences count as the base plus themselves."""
        if self._total is None:
            return self._kept
        if base is not None:
            _add_all([(self, base)], base_weight)
        total, self._total = self._total, None
        with np.errstate(over="raise", invalid="raise"):
            if self._kind == "b":
                cast = np.asarray(_quotient(total, weight) >= 0.5)
            elif self._kind in "iu":
                cast = _as_integers(np.rint(_quotient(total, weight)), self.dtype)
            else:
                cast = _divided(total, weight, self.dtype)
        self.spare = total
        if self._back:
            return self._back(cast[()])
        return cast if self._mark is None else cast.view(self._mark)


_Part = tuple["NDArray[Any]", "NDArray[Any]"]
"""A part of a total, and what is to be added to it."""


def _add_all(pairs: Iterable[tuple[_Sum, Any]], weight: float) -> None:
    """Add each value to its sum, the large ones on two cores: one alone cannot keep up with the
    memory."""
    parts = deque(part for total, value in pairs for part in total.parts(value))
    if sum(total.size for total, _ in parts) <= _PART:
        _add_parts(parts, weight)
        return
    with ThreadPoolExecutor(1, "federant-mean") as other:
        others = other.submit(_add_parts, parts, weight)
        _add_parts(parts, weight)
        others.result()


def _add_parts(parts: deque[_Part], weight: float) -> None:
    """Until none is left; another thread may take some of them."""
    while True:
        try:
            total, values = parts.popleft()
        except IndexError:
            return
        scratch = np.empty(min(_CHUNK, total.size), total.dtype)
        # What overflows stays infinite or becomes NaN: the mean finds it.
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, total.size, _CHUNK):
                chunk = values[start : start + _CHUNK]
                weighted = scratch[: chunk.size]
                np.multiply(chunk, weight, out=weighted, dtype=total.dtype)
                total[start : start + _CHUNK] += weighted


def _zeros(
    shape: tuple[int, ...], dtype: np.dtype[Any], spare: NDArray[Any] | None
) -> NDArray[Any]:
    if spare is None or spare.shape != shape or spare.dtype != dtype:
        return np.zeros(shape, dtype)
    spare.fill(0)
    return spare


def _quotient(total: NDArray[Any], weight: float, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """FloatingPointError where the total has grown out of its dtype."""
    if not np.isfinite(total).all():
        raise FloatingPointError(f"a sum of it is too large for {total.dtype}")
    quotient: NDArray[Any] = np.divide(total, weight, out=out)
    return quotient


def _divided(total: NDArray[Any], weight: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Quotients, each rounded once to a dtype, in the totals' memory if they fit into it.

    FloatingPointError as for ``_quotient`` and ``rounded``.
    """
    wide = total.reshape(-1)
    if dtype.itemsize <= total.itemsize:
        narrow = wide.view(np.uint8)[: total.size * dtype.itemsize].view(dtype)
    else:
        narrow = np.empty(total.size, dtype)
    scratch = np.empty(min(_CHUNK, total.size), total.dtype)
    for start in range(0, total.size, _CHUNK):
        part = wide[start : start + _CHUNK]
        # What is written lies before what was not read yet.
        narrow[start : start + _CHUNK] = rounded(
            _quotient(part, weight, scratch[: part.size]), dtype
        )
    return narrow.reshape(total.shape)


def _as_integers(total: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Whole numbers as integers; those that are out of the dtype's range stop at its end."""
    limits = np.iinfo(dtype)
    # The end of the range may be no float: the nearest one is then the first that does not fit.
    over = np.asarray(total >= limits.max)
    cast = np.where(over, 0, np.maximum(total, limits.min)).astype(dtype)
    cast[over] = limits.max
    return cast


def _dtype(value: Any) -> np.dtype[Any]:
    """What a leaf is to be averaged as; ``object`` if it is not."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype
    return np.asarray(value).dtype if type(value) in _NUMBERS else np.dtype(object)


def _children(tree: object) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict):
        yield from tree.items()
    elif isinstance(tree, list | tuple):
        yield from enumerate(tree)


def _mapped(tree: Any, change: Callable[[Path, Any], Any], path: Path = ()) -> Any:
    """The same tree with each leaf replaced by ``change(path, leaf)``."""
    if isinstance(tree, dict):
        return {key: _mapped(value, change, (*path, key)) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        parts = [_mapped(value, change, (*path, at)) for at, value in enumerate(tree)]
        return parts if isinstance(tree, list) else tuple(parts)
    return change(path, tree)
