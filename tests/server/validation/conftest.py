"""A model, the tasks that carry it, and a checker of what is returned for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant.codec import encode
from federant.exchange import DXO, DataKind, MetaKey, ReturnCode, Shareable
from federant.server.blobs import FolderBlobs
from federant.server.state import JobRow, NewTask, Store, TaskRow, task_id
from federant.server.validation import (
    MODEL_KINDS,
    ExpectedTrees,
    Refusal,
    ResultChecker,
    expectation,
)

Check = Callable[..., Refusal | None]
MODEL = {
    "layer": {"w": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)},
    "batches": np.array(4),
    "rate": 0.5,
    "note": None,
}
STEPS = MetaKey.NUM_STEPS_CURRENT_ROUND


def changed(path: str, value: Any) -> dict[str, Any]:
    """The model with another value in one place."""
    model = {**MODEL, "layer": dict(MODEL["layer"])}  # type: ignore[arg-type]
    *outer, last = path.split(".")
    place: dict[str, Any] = model
    for part in outer:
        place = place[part]
    place[last] = value
    return model


def weights(data: dict[str, Any], **meta: Any) -> DXO:
    return DXO(DataKind.WEIGHTS, data, meta)


@pytest.fixture
def tasks(store: Store, submit: Callable[..., JobRow], blobs: FolderBlobs) -> Callable[..., Any]:
    """Makes a step with a task for each of two sites: ``tasks(model, kinds)``."""
    job = submit(store, "site-1", "site-2")
    number = iter(range(100))

    def make(model: dict[str, Any], kinds: tuple[str, ...] | ExpectedTrees) -> list[TaskRow]:
        step = next(number)
        blob = blobs.put(encode(weights(model).to_shareable()).chunks())
        new = [
            NewTask(task_id(job.id, step, site), site, "train", {}, blob, expectation(kinds))
            for site in ("site-1", "site-2")
        ]
        store.begin_step(job.id, step, "broadcast", {}, new)
        return store.step_tasks(job.id, step)

    return make


@pytest.fixture
def check(store: Store, blobs: FolderBlobs, tasks: Callable[..., Any], tmp_path: Path) -> Check:
    """Judges a result of a task that carries MODEL: ``check(dxo)``."""
    checker = ResultChecker(store, blobs)

    def judge(
        result: DXO | Shareable | bytes | None,
        *,
        rc: str = ReturnCode.OK,
        kinds: tuple[str, ...] | ExpectedTrees = MODEL_KINDS,
        model: dict[str, Any] = MODEL,
    ) -> Refusal | None:
        task, _ = tasks(model, kinds)
        path = None
        if result is not None:
            path = tmp_path / "result"
            body = result.to_shareable() if isinstance(result, DXO) else result
            path.write_bytes(body if isinstance(body, bytes) else encode(body).to_bytes())
        return checker(task, path, rc)

    return judge
