"""What a model is worth: the example trainer's own functions on the held-out test set.

Loads the example as it lies on the disk, so that what is compared is what the sites run.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from federant.demo.split import Share, Split

_EXAMPLE = "digits_trainer.py"


def trainer_file() -> Path:
    """The example trainer: inside the package when installed, beside `src` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    places = (package / "examples" / _EXAMPLE, package.parents[1] / "examples" / _EXAMPLE)
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"{_EXAMPLE} is at neither {places[0]} nor {places[1]}; install federant again"
    )


class Judge:
    """Trains without a federation, for comparison, and measures models on the test set."""

    def __init__(self, split: Split, seed: int) -> None:
        self._seed = seed
        self._example = _load(trainer_file())
        self._inputs = self._example.features(split.test.images)
        self._labels = split.test.labels

    def score(self, model: Mapping[str, Any]) -> tuple[float, float]:
        """Loss and accuracy (0 to 1) on the test set."""
        loss, accuracy = self._example.evaluate(model, self._inputs, self._labels)
        return float(loss), float(accuracy)

    def train_alone(self, share: Share, rounds: int) -> float:
        """Test accuracy of a model that saw only this share, as often as in so many rounds."""
        example = self._example
        model = example.train(
            example.fresh_model(),
            example.features(share.images),
            share.labels,
            np.random.default_rng(self._seed),
            epochs=rounds * example.EPOCHS,
        )
        return self.score(model)[1]

    def seconds_a_round(self, share: Share) -> float:
        """How long `train_alone` takes for each of its rounds, found by trying."""
        self.train_alone(share, rounds=1)  # the first use of the numerics takes longer
        began = time.perf_counter()
        self.train_alone(share, rounds=1)
        return time.perf_counter() - began


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded as a module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
