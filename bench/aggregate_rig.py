"""One way to the weighted mean of results, in a process of its own; prints what it took.

    python aggregate_rig.py WAY BYTES COUNT

It runs in the environment of the way's own package, so each is imported only where it is used.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any, Protocol

import numpy as np

from memory_rig import forget_most, most
from model_rig import Model, make_model


class Way(Protocol):
    def receive(self, model: Model, weight: float) -> Any:
        """A result as it lies in memory once it has come; not timed."""
        ...

    def take(self, received: Any) -> None: ...

    def mean(self) -> Model | None:
        """The mean of what was taken; None if this way makes none."""
        ...


class OneCopy:
    """Copies each result into the same warm arrays."""

    def __init__(self, first: Model) -> None:
        self._target = {name: np.zeros_like(values) for name, values in first.items()}

    def receive(self, model: Model, weight: float) -> Model:  # noqa: ARG002 - has no use for it
        return model

    def take(self, received: Model) -> None:
        for name, values in received.items():
            np.copyto(self._target[name], values)

    def mean(self) -> None:
        return None


class Numpy:
    """The line that everybody writes."""

    def __init__(self, first: Model) -> None:
        self._sums = {name: np.zeros_like(values) for name, values in first.items()}
        self._weight = 0.0

    def receive(self, model: Model, weight: float) -> tuple[Model, float]:
        return model, weight

    def take(self, received: tuple[Model, float]) -> None:
        model, weight = received
        for name, values in model.items():
            self._sums[name] += weight * values
        self._weight += weight

    def mean(self) -> Model:
        return {name: values / np.float32(self._weight) for name, values in self._sums.items()}


class Federant:
    """What the server's workflows add results with."""

    def __init__(self, first: Model, dtype: type[np.floating[Any]] = np.float64) -> None:
        from federant.exchange import DXO, DataKind
        from federant.server.aggregation import WeightedMean

        self._dxo = lambda model: DXO(DataKind.WEIGHTS, model)
        self._mean = WeightedMean(self._dxo(first), dtype=dtype)

    def receive(self, model: Model, weight: float) -> tuple[Any, float]:
        return self._dxo(model), weight

    def take(self, received: tuple[Any, float]) -> None:
        self._mean.add(*received)

    def mean(self) -> Model:
        mean: Model = self._mean.mean().data
        return mean


class FederantSingle(Federant):
    def __init__(self, first: Model) -> None:
        super().__init__(first, np.float32)


class Nvflare:
    """Its DXOAggregator, which adds on arrival."""

    def __init__(self, first: Model) -> None:  # noqa: ARG002 - the first result will tell it
        from nvflare.apis.dxo import DXO, DataKind, MetaKey
        from nvflare.apis.fl_context import FLContext
        from nvflare.app_common.aggregators.dxo_aggregator import DXOAggregator
        from nvflare.app_common.app_constant import AppConstants

        logging.disable()  # it says in several lines a result what it misses here
        self._dxo = lambda model, weight: DXO(
            DataKind.WEIGHTS, model, {MetaKey.NUM_STEPS_CURRENT_ROUND: weight}
        )
        self._context = FLContext()
        self._context.set_prop(AppConstants.CURRENT_ROUND, 0)
        self._aggregator = DXOAggregator(expected_data_kind=DataKind.WEIGHTS)
        self._count = 0

    def receive(self, model: Model, weight: float) -> Any:
        return self._dxo(model, weight)

    def take(self, received: Any) -> None:
        self._count += 1
        assert self._aggregator.accept(received, f"site-{self._count}", 0, self._context)

    def mean(self) -> Model:
        mean: Model = self._aggregator.aggregate(self._context).data
        return mean


class Flower:
    """What its FedAvg aggregates with; it wants all results at once, as it gets them."""

    def __init__(self, first: Model) -> None:  # noqa: ARG002 - the results will tell it
        from flwr.common import Array, ArrayRecord, MetricRecord, RecordDict
        from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

        def record(model: Model, weight: float) -> Any:
            arrays = ArrayRecord({name: Array(values) for name, values in model.items()})
            return RecordDict({"arrays": arrays, "metrics": MetricRecord({"weight": weight})})

        self._record = record
        self._aggregate = aggregate_arrayrecords
        self._records: list[Any] = []

    def receive(self, model: Model, weight: float) -> Any:
        return self._record(model, weight)

    def take(self, received: Any) -> None:
        self._records.append(received)

    def mean(self) -> Model:
        mean = self._aggregate(self._records, "weight")
        return {name: array.numpy() for name, array in mean.items()}


WAYS: dict[str, type[Way]] = {
    "copy": OneCopy,
    "numpy": Numpy,
    "federant": Federant,
    "federant-single": FederantSingle,
    "nvflare": Nvflare,
    "flower": Flower,
}


def main() -> None:
    name, size, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    first = make_model(size)
    way = WAYS[name](first)
    forget_most(os.getpid())
    before = most(os.getpid())
    taken = 0.0
    for number in range(1, count + 1):
        model = {name: values * np.float32(number) for name, values in first.items()}
        received = way.receive(model, float(number))
        del model
        began = time.perf_counter()
        way.take(received)
        taken += time.perf_counter() - began
        del received
    began = time.perf_counter()
    mean = way.mean()
    taken += time.perf_counter() - began
    if mean is not None:
        expected = sum(n * n for n in range(1, count + 1)) / sum(range(1, count + 1))
        for values in mean.values():
            np.testing.assert_allclose(values[[0, -1]], expected, rtol=1e-5)
    print(json.dumps({"seconds": taken, "before": before, "most": most(os.getpid())}))


if __name__ == "__main__":
    main()
