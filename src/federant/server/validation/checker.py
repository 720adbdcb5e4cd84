"""Judges one result: by what its task asks for, by the shape of its model, by its numbers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from federant.exchange import DXO, DataKind, ReturnCode
from federant.server.boosters import RESULT_LIMITS, BadBoosterError, booster_in, booster_of
from federant.server.validation.bodies import body_in, dxo_of
from federant.server.validation.contents import contents_refusal
from federant.server.validation.expectation import MODEL_KINDS, expected_kinds, expected_rounds
from federant.server.validation.model import Model, model_in
from federant.server.validation.refusal import Refusal
from federant.server.validation.shape import (
    ModelShape,
    no_mean_refusal,
    no_names_refusal,
    no_numbers_refusal,
)

if TYPE_CHECKING:
    # Frames are judged without a database, too.
    from federant.server.blobs import BlobStore
    from federant.server.state import Store, TaskRow

_KEPT_TEMPLATES: Final = 64


class ResultChecker:
    """Judges results for the server's link.  Thread-safe.

    A task that carries a model is its own template; where it carries none (the first round of a
    model that the trainers make), the step's first accepted result is.
    """

    def __init__(self, store: Store, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs
        self._lock = threading.Lock()
        self._models: OrderedDict[str, Model | None] = OrderedDict()
        # A booster takes up to ten times the size of its text while it is read.
        self._reading_a_booster = threading.Lock()

    def __call__(self, task: TaskRow, path: Path | None, rc: str) -> Refusal | None:
        """None if the result is valid; ``path`` is its frame, None if it has no body."""
        if rc != ReturnCode.OK:
            return None

        def task_model() -> Model | None:
            return self._model(task.blob.digest) if task.blob else None

        def first_result() -> Model | None:
            return self._first_result(task)

        kinds = expected_kinds(task.expect)
        # Only what is averaged may be a difference; other models may be anything.
        averaged = DataKind.WEIGHT_DIFF in kinds
        refusal = _judged(task.name, kinds, path, task_model, first_result, averaged=averaged)
        rounds = expected_rounds(task.expect)
        if refusal is not None or rounds is None or path is None:
            return refusal
        with self._reading_a_booster:
            return _booster_refusal(path, rounds, task_model() or first_result())

    def _first_result(self, task: TaskRow) -> Model | None:
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

    def _model(self, digest: str) -> Model | None:
        """The weights in a blob; None if it holds none."""
        with self._lock:
            if digest in self._models:
                self._models.move_to_end(digest)
                return self._models[digest]
        model = model_in(self._blobs.path(digest))
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
    return _judged(name, kinds, path, lambda: model_in(model) if model else None, lambda: None)


def judge_by(first: DXO, expect: Mapping[str, Any]) -> Callable[[DXO], Refusal | None] | None:
    """Tells why other results do not fit the first one; None if the first one is empty.

    ``expect`` is as the task's row has it.
    """
    if expected_rounds(expect) is None:
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


def _judged(
    name: str,
    kinds: tuple[str, ...],
    path: Path | None,
    task_model: Callable[[], Model | None],
    first_result: Callable[[], Model | None],
    *,
    averaged: bool = False,
) -> Refusal | None:
    try:
        found = None if path is None else dxo_of(body_in(path))
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
        nameless = no_names_refusal(found)
        if nameless is not None:
            return nameless
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
        misfit = misfit or (no_mean_refusal(found) if kinds else None)
        misfit = misfit or (no_numbers_refusal(found) if averaged else None)
        if misfit is not None:
            return misfit
    return contents_refusal(found, path, model)


def _booster_refusal(path: Path, rounds: int, model: Model | None) -> Refusal | None:
    """Why new trees are not sound, or do not fit the booster of the model, if there is one."""
    try:
        booster = booster_in(path, RESULT_LIMITS, rounds=rounds)
        if model is not None:
            model.booster.require(booster.shape)
    except BadBoosterError as error:
        return Refusal(error.rc, str(error))
    return None
