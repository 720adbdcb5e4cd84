"""Judges a result against its task before it can touch a model; changes nothing.

Weights and differences of weights must fit the model: names, shapes, dtypes, a sane weight, and
numbers of which there is a finite mean (for a difference: once it is added to the model).  Each
result is judged by itself, so that it alone is refused and the job never fails by it.

Where a task asks for trees, the weights are a booster's text, which must be sound and fit the
booster of the task.

Everything else is not to be added into a model and is judged as what it is: metrics may be NaN, a
collection's entries are judged one by one, a result may be empty where the task asked for nothing
in particular.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federant.codec import DEFAULT_LIMITS, TensorSpan, header_size, read_layout
from federant.codec.kinds import ARRAY_CODES
from federant.exchange import (
    DXO,
    DataKind,
    MetaKey,
    ReservedHeaderKey,
    ReturnCode,
    Shareable,
    from_shareable,
    get_leaf_dxos,
)
from federant.server.aggregation import Path as LeafPath
from federant.server.aggregation import leaves, path_text
from federant.server.boosters import (
    MODEL_LIMITS,
    RESULT_LIMITS,
    BadBoosterError,
    BoosterShape,
    booster_in,
    booster_of,
)
from federant.server.numbers import (
    AVERAGED,
    LARGEST,
    kind_of,
    limit_of,
    reach_of,
    summed_in,
)

if TYPE_CHECKING:
    # Frames are judged without a database, too.
    from federant.server.blobs import BlobStore
    from federant.server.state import Store, TaskRow

_Numbers = np.ndarray[Any, np.dtype[Any]]

MODEL_KINDS: Final = (DataKind.WEIGHTS, DataKind.WEIGHT_DIFF)
"""The kinds that are added into a model."""

MAX_WEIGHT: Final = 1e12
"""The largest weight that a result may claim (examples, or steps, in one round)."""

_CHUNK_BYTES: Final = 1 << 20
_KEPT_TEMPLATES: Final = 64
_NAMES_SHOWN: Final = 5
_KINDS: Final = "kinds"
_BOOSTING_ROUNDS: Final = "boosting_rounds"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a result is not valid for its task: one of ``ReturnCode.RESULT_*``, and a sentence."""

    rc: str
    text: str


@dataclass(frozen=True, slots=True)
class ExpectedTrees:
    """What a task may ask for: WEIGHTS that are a booster, of no more boosting rounds than this."""

    rounds: int


Expected = Sequence[str] | ExpectedTrees
"""What a task may ask for: kinds of DXO, or trees."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The names in a model, each with its shape and dtype; holds no tensor.

    ``parts`` has None for a value that is no number: it is not compared.
    """

    parts: Mapping[LeafPath, tuple[tuple[int, ...], np.dtype[Any]] | None]

    @classmethod
    def of(cls, data: object) -> ModelShape | None:
        """Of a model's data, with arrays or with their TensorSpans; None if there is nothing."""
        parts = {path: _part(value) for path, value in leaves(data)}
        return cls(parts) if parts else None

    def refusal(self, result: DXO) -> Refusal | None:
        """Why the weights or the difference do not fit this model, or None if they do."""
        found = {path: _part(value) for path, value in leaves(result.data)}
        if found.keys() != self.parts.keys():
            lacking = _shown(self.parts.keys() - found.keys())
            extra = _shown(found.keys() - self.parts.keys())
            return Refusal(
                ReturnCode.RESULT_WRONG_NAMES,
                f"the result lacks {lacking} and has {extra} that the model does not have; "
                "return all of the model and nothing else",
            )
        difference = result.data_kind == DataKind.WEIGHT_DIFF
        for path, wanted in self.parts.items():
            refusal = _part_refusal(path_text(path), wanted, found[path], difference=difference)
            if refusal is not None:
                return refusal
        return None


class _Model:
    """A model in a blob, as far as results are judged by it; holds no tensor."""

    def __init__(self, data: dict[str, Any], shape: ModelShape, path: Path) -> None:
        self.shape = shape
        self._data = data
        self._path = path

    @cached_property
    def room(self) -> dict[LeafPath, float]:
        """By leaf of floating point numbers: how far from 0 all that is added to it may get."""
        frame = _mapped(self._path)
        room: dict[LeafPath, float] = {}
        for at, value in leaves(self._data):
            for numbers in _numbers(value, frame):
                here = limit_of(numbers.dtype) - reach_of(numbers)
                # Of numpy, because Python's min may pass over a NaN.
                room[at] = float(np.minimum(room.get(at, LARGEST), here))
        return room

    @cached_property
    def booster(self) -> BoosterShape:
        """What other boosters must be like; BadBoosterError if the model is none."""
        return booster_in(self._path, MODEL_LIMITS).shape

    def numbers(self, at: LeafPath) -> Iterator[_Numbers]:
        """The floating point numbers of a leaf, some at a time."""
        return _numbers(dict(leaves(self._data))[at], _mapped(self._path))


class ResultChecker:
    """Judges results for the server's link.  Thread-safe.

    A task that carries a model is its own template; where it carries none (the first round of a
    model that the trainers make), the step's first accepted result is.
    """

    def __init__(self, store: Store, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs
        self._lock = threading.Lock()
        self._models: OrderedDict[str, _Model | None] = OrderedDict()
        # A booster takes up to ten times the size of its text while it is read.
        self._reading_a_booster = threading.Lock()

    def __call__(self, task: TaskRow, path: Path | None, rc: str) -> Refusal | None:
        """None if the result is valid; ``path`` is its frame, None if it has no body."""
        if rc != ReturnCode.OK:
            return None

        def task_model() -> _Model | None:
            return self._model(task.blob.digest) if task.blob else None

        def first_result() -> _Model | None:
            return self._first_result(task)

        kinds = expected_kinds(task.expect)
        # Only what is averaged may be a difference; other models may be anything.
        averaged = DataKind.WEIGHT_DIFF in kinds
        refusal = _judged(task.name, kinds, path, task_model, first_result, averaged=averaged)
        rounds = task.expect.get(_BOOSTING_ROUNDS)
        if refusal is not None or rounds is None or path is None:
            return refusal
        with self._reading_a_booster:
            return _booster_refusal(path, rounds, task_model() or first_result())

    def _first_result(self, task: TaskRow) -> _Model | None:
        """The step's first accepted result."""
        others = self._store.step_tasks(task.job_id, task.step)
        first = min(
            (
                (other.seq, other.result_blob.digest)
                for other in others
                if other.rc == ReturnCode.OK
                and other.seq is not None
                and other.result_blob is not None
            ),
            default=None,
        )
        return None if first is None else self._model(first[1])

    def _model(self, digest: str) -> _Model | None:
        """The weights in a blob; None if it holds none."""
        with self._lock:
            if digest in self._models:
                self._models.move_to_end(digest)
                return self._models[digest]
        model = _model_in(self._blobs.path(digest))
        with self._lock:
            self._models[digest] = model
            if len(self._models) > _KEPT_TEMPLATES:
                self._models.popitem(last=False)
        return model


def refusal_of(
    name: str, kinds: tuple[str, ...], path: Path | None, model: Path | None
) -> Refusal | None:
    """Why a good result is not valid for a task; None if it is.

    ``name`` is the task's, and ``kinds`` are those of a DXO that its result may be (none: any).
    ``path`` is the result's frame, None if it has no body; ``model`` that of the task's data.
    A model without numbers passes: whether it is to be averaged is the workflow's to say.
    """
    return _judged(name, kinds, path, lambda: _model_in(model) if model else None, lambda: None)


def _judged(
    name: str,
    kinds: tuple[str, ...],
    path: Path | None,
    task_model: Callable[[], _Model | None],
    first_result: Callable[[], _Model | None],
    *,
    averaged: bool = False,
) -> Refusal | None:
    try:
        found = None if path is None else dxo_of(_body(path))
    except ValueError as error:
        return Refusal(ReturnCode.RESULT_UNREADABLE, f"the result cannot be read: {error}")
    if kinds and (found is None or found.data_kind not in kinds):
        got = "an empty result" if found is None else f"a DXO of kind {found.data_kind}"
        return Refusal(
            ReturnCode.RESULT_WRONG_KIND,
            f"task {name} asks for {' or '.join(kinds)}, the result is {got}; return "
            "one of those (with flare, an FLModel with params for weights, with metrics alone for "
            "METRICS)",
        )
    if found is None or path is None:
        return None
    model = None
    if found.data_kind in MODEL_KINDS:
        model = task_model()
        template = model
        if model is None and kinds:
            if found.data_kind == DataKind.WEIGHT_DIFF:
                return Refusal(
                    ReturnCode.RESULT_WRONG_KIND,
                    f"task {name} carries no model that {found.data_kind} could be the "
                    f"difference from; return {DataKind.WEIGHTS}",
                )
            if not found.data:
                return Refusal(ReturnCode.RESULT_WRONG_NAMES, "the result has no weights in it")
            template = first_result()
        misfit = None if template is None else template.shape.refusal(found)
        misfit = misfit or (_no_mean_refusal(found) if kinds else None)
        misfit = misfit or (_no_numbers_refusal(found) if averaged else None)
        if misfit is not None:
            return misfit
    return _contents_refusal(found, path, model)


def _model_in(path: Path) -> _Model | None:
    """The weights in a frame; None if it holds none."""
    found = dxo_of(_body(path))
    if found is None or found.data_kind not in MODEL_KINDS:
        return None
    shape = ModelShape.of(found.data)
    return None if shape is None else _Model(found.data, shape, path)


def _booster_refusal(path: Path, rounds: int, model: _Model | None) -> Refusal | None:
    """Why new trees are not sound, or do not fit the booster of the model, if there is one."""
    try:
        booster = booster_in(path, RESULT_LIMITS, rounds=rounds)
        if model is not None:
            model.booster.require(booster.shape)
    except BadBoosterError as error:
        return Refusal(error.rc, str(error))
    return None


def judge_by(first: DXO, expect: Mapping[str, Any]) -> Callable[[DXO], Refusal | None] | None:
    """Tells why other results do not fit the first one; None if the first one is empty.

    ``expect`` is as the task's row has it.
    """
    if _BOOSTING_ROUNDS not in expect:
        shape = ModelShape.of(first.data)
        return None if shape is None else shape.refusal
    wanted = booster_of(first).shape

    def judge(other: DXO) -> Refusal | None:
        try:
            wanted.require(booster_of(other).shape)
        except BadBoosterError as error:
            return Refusal(error.rc, str(error))
        return None

    return judge


def expectation(expect: Expected) -> dict[str, Any]:
    """What a task's result is to be, as the task's row keeps it; no kinds: anything."""
    if isinstance(expect, ExpectedTrees):
        return {_KINDS: [str(DataKind.WEIGHTS)], _BOOSTING_ROUNDS: expect.rounds}
    return {_KINDS: [str(kind) for kind in expect]}


def expected_kinds(expect: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(expect.get(_KINDS, ()))


def dxo_of(body: object) -> DXO | None:
    """The DXO that a body is or holds, None for a Shareable without one; ValueError for others."""
    if isinstance(body, DXO):
        return body
    if not isinstance(body, Shareable):
        raise ValueError(  # noqa: TRY004 - it comes from a file: a wrong value, not a wrong call
            f"its body is a {type(body).__name__}, a Shareable or a DXO is needed"
        )
    if body.get_header(ReservedHeaderKey.CONTENT_TYPE) is None:
        return None
    return from_shareable(body)


def _body(path: Path) -> object:
    """The body of a frame, with a TensorSpan for each array; FrameError if it is no frame."""
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        head = file.read(8)
        head += file.read(header_size(head, DEFAULT_LIMITS) - len(head))
    # Long text lies in tensors too, and is none.
    layout = read_layout(head, total)
    return layout.build(lambda code, span: span if code in ARRAY_CODES else None)


def _contents_refusal(found: DXO, path: Path, model: _Model | None = None) -> Refusal | None:
    """What is wrong inside a DXO, as far as its kind has rules.

    ``model`` is what a difference is the difference from, if that is known.
    """
    if found.data_kind == DataKind.COLLECTION:
        entries, errors = get_leaf_dxos(found)
        if errors:
            return Refusal(ReturnCode.RESULT_WRONG_KIND, f"in the collection, {errors[0]}")
        refusals = (_contents_refusal(entry, path) for entry in entries.values())
        return next((refusal for refusal in refusals if refusal), None)
    if found.data_kind not in MODEL_KINDS:
        return None
    weight = found.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND)
    if weight is not None and not is_sane_weight(weight):
        return Refusal(
            ReturnCode.RESULT_BAD_WEIGHT,
            f"meta {MetaKey.NUM_STEPS_CURRENT_ROUND} must be a number above 0 and up to "
            f"{MAX_WEIGHT:g}, it is {weight!r}",
        )
    base = model if found.data_kind == DataKind.WEIGHT_DIFF else None
    return _numbers_refusal(found, path, base)


def is_sane_weight(weight: object) -> bool:
    numbers = int | float | np.integer | np.floating
    if isinstance(weight, bool) or not isinstance(weight, numbers):
        return False
    return bool(0 < weight <= MAX_WEIGHT)


def _numbers_refusal(found: DXO, path: Path, base: _Model | None) -> Refusal | None:
    """Why there is no finite mean of these numbers, or of their sums with those of ``base``."""
    frame = _mapped(path)
    for at, value in leaves(found.data):
        reached = 0.0
        for numbers in _numbers(value, frame):
            here = reach_of(numbers)
            if not here <= limit_of(numbers.dtype):
                return _not_finite(path_text(at), "holds", numbers, numbers.dtype)
            reached = max(reached, here)
        # The model is looked at once for all results, and again only for what may be too much.
        if base is None or reached <= base.room.get(at, math.inf):
            continue
        for ours, theirs in zip(base.numbers(at), _numbers(value, frame), strict=True):
            # In float64, so that what is just beyond the dtype's end is not rounded to it.
            with np.errstate(invalid="ignore"):
                sums = np.add(ours, theirs, dtype=summed_in(ours.dtype))
            if not reach_of(sums) <= limit_of(ours.dtype):
                what = "would hold, with the difference added,"
                return _not_finite(path_text(at), what, sums, ours.dtype)
    return None


def _no_mean_refusal(found: DXO) -> Refusal | None:
    """Why an array cannot be added into a model, whatever is in it."""
    for at, value in leaves(found.data):
        if isinstance(value, TensorSpan) and kind_of(value.numpy_dtype) not in AVERAGED:
            return Refusal(
                ReturnCode.RESULT_WRONG_DTYPE,
                f"{path_text(at)!r} is an array of dtype {value.numpy_dtype}, of which there is no "
                "mean; return it in the meta, or as the list array.tolist()",
            )
    return None


def _no_numbers_refusal(found: DXO) -> Refusal | None:
    """Why a model without a single number cannot be averaged: one of the results would be kept."""
    parts = (_part(value) for _, value in leaves(found.data))
    if any(part is not None and kind_of(part[1]) in AVERAGED for part in parts):
        return None
    names = _shown({(name,) for name in found.data})
    return Refusal(
        ReturnCode.RESULT_WRONG_KIND,
        f"there is nothing to be averaged in the result, no number is in {names}; return the "
        "parameters as numpy arrays (numpy.asarray) or tensors",
    )


def _not_finite(name: str, what: str, numbers: _Numbers, dtype: np.dtype[Any]) -> Refusal:
    parts, limit = numbers.view(numbers.real.dtype), limit_of(dtype)
    if parts.dtype.itemsize < 4:
        with np.errstate(invalid="ignore"):  # a NaN may signal
            parts = parts.astype(np.float32)  # of bfloat16 and float8 there is no text
    bad = parts[~(np.abs(parts) <= limit)][0]
    rule = f"of {dtype} go no further than {limit:.5g}" if np.isfinite(bad) else "must be finite"
    return Refusal(
        ReturnCode.RESULT_NOT_FINITE,
        f"{name!r} {what} {bad:.5g}; a model's numbers {rule} (did the training diverge?)",
    )


def _mapped(path: Path) -> mmap.mmap:
    """A blob's bytes: it is complete and never changes.  They go with the last view of them."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _numbers(value: object, frame: mmap.mmap) -> Iterator[_Numbers]:
    """A leaf's floating point numbers, in a row, some at a time; nothing for any other leaf."""
    if isinstance(value, TensorSpan):
        dtype = value.numpy_dtype
        if kind_of(dtype) in "fc":
            step = _CHUNK_BYTES // dtype.itemsize
            count = math.prod(value.shape)
            for start in range(0, count, step):
                size = min(step, count - start)
                yield np.frombuffer(frame, dtype, size, value.start + start * dtype.itemsize)
    elif isinstance(value, float | complex | np.inexact):
        yield np.asarray(value).reshape(1)


def _part(value: object) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    if isinstance(value, TensorSpan):
        return value.shape, value.numpy_dtype
    if isinstance(value, np.ndarray | np.generic):
        return value.shape, value.dtype
    if isinstance(value, bool | int | float | complex):
        # An integer that 64 bits do not hold is not averaged.
        return None if np.asarray(value).dtype == object else ((), np.dtype(type(value)))
    return None


def _part_refusal(
    name: str,
    wanted: tuple[tuple[int, ...], np.dtype[Any]] | None,
    found: tuple[tuple[int, ...], np.dtype[Any]] | None,
    *,
    difference: bool,
) -> Refusal | None:
    if wanted is None:
        if found is None or not found[0]:
            return None
        return Refusal(
            ReturnCode.RESULT_WRONG_SHAPE,
            f"{name!r} has shape {found[0]}, the model's is no array; return what came",
        )
    if found is None:
        return Refusal(
            ReturnCode.RESULT_WRONG_DTYPE,
            f"{name!r} is no number, or one of over 64 bits, the model's is {wanted[1]}; return "
            "numbers for numbers",
        )
    if found[0] != wanted[0]:
        return Refusal(
            ReturnCode.RESULT_WRONG_SHAPE,
            f"{name!r} has shape {found[0]}, the model's has {wanted[0]}; return each array in the "
            "shape in which it came",
        )
    # The difference of counts may be a mean already, and that of two bools is no bool.
    fits = found[1] == wanted[1] or (
        difference and wanted[1].kind in "biu" and kind_of(found[1]) in "biuf"
    )
    if not fits:
        return Refusal(
            ReturnCode.RESULT_WRONG_DTYPE,
            f"{name!r} has dtype {found[1]}, the model's has {wanted[1]}; convert it back before "
            "it is returned",
        )
    return None


def _shown(paths: set[LeafPath]) -> str:
    names = sorted(map(path_text, paths))
    rest = len(names) - _NAMES_SHOWN
    text = ", ".join(repr(name) for name in names[:_NAMES_SHOWN]) or "nothing"
    return f"{text} and {rest} more" if rest > 0 else text
