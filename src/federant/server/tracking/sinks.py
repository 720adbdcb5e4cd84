"""The sinks of one server: which a job may name, and a feeder for each of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

from federant.link.messages import JobSpec, SinkName
from federant.server.blobs import BlobStore
from federant.server.state import Store
from federant.server.wakeups import Wakeups

from .base import Sink
from .feeder import Feeder
from .settings import SinkSettings

_MODULES: Final = {
    SinkName.TENSORBOARD: "tensorboard",
    SinkName.MLFLOW: "mlflow",
    SinkName.WANDB: "wandb",
    SinkName.PROMETHEUS: "prometheus_client",
}


class Sinks:
    """All sinks of a server; thread-safe."""

    def __init__(
        self,
        settings: SinkSettings,
        store: Store,
        blobs: BlobStore,
        wakeups: Wakeups,
    ) -> None:
        self._settings = settings
        self._blobs = blobs
        self._feeders = [
            Feeder(name, open_sink, store, wakeups) for name, open_sink in self._fed().items()
        ]

    def check(self, spec: JobSpec) -> str | None:
        """Why the job's metrics cannot go where it wants them, or None if they can."""
        for name in spec.sinks:
            if getattr(self._settings, name) is None:
                return (
                    f"this server does not feed the sink {name}: its operator has to say how, in a "
                    f"table [sinks.{name}] of the file that federant server --config names"
                )
            if find_spec(_MODULES[name]) is None:
                return (
                    f"this server cannot feed the sink {name}: the package {_MODULES[name]} is not "
                    f"installed there; its operator can: pip install 'federant[{name}]'"
                )
        return None

    def start(self) -> None:
        for feeder in self._feeders:
            feeder.start()

    def stop(self, timeout: float) -> None:
        """Feed no more; waits at most so long for what is under way.  Idempotent."""
        for feeder in self._feeders:
            feeder.stop()
        for feeder in self._feeders:
            feeder.join(timeout)

    def _fed(self) -> dict[SinkName, Callable[[], Sink]]:
        """How each sink is opened, once there is something for it: an import takes seconds."""
        settings, blobs = self._settings, self._blobs

        def tensorboard() -> Sink:
            from .tensorboard import TensorBoardSink

            return TensorBoardSink(settings.tensorboard, blobs)

        found: dict[SinkName, Callable[[], Sink]] = {SinkName.TENSORBOARD: tensorboard}
        if (mlflow_settings := settings.mlflow) is not None:

            def mlflow() -> Sink:
                from .mlflow import MLflowSink

                return MLflowSink(mlflow_settings, blobs)

            found[SinkName.MLFLOW] = mlflow
        if (wandb_settings := settings.wandb) is not None:

            def wandb() -> Sink:
                from .wandb import WandbSink

                return WandbSink(wandb_settings, blobs)

            found[SinkName.WANDB] = wandb
        return found
