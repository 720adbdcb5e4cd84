"""Metrics writers with the methods that people know from TensorBoard, MLflow and Weights & Biases.

None of the three packages is needed here: what is written goes through the agent to the server,
whose operator says where it goes on to.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar, Final

from federant.client.api import get_context
from federant.client.api_context import APIContext
from federant.client.errors import ApiCallError
from federant.client.flare_agent import FlareAgent
from federant.client.images import pixels_of
from federant.client.joined import joined_agent
from federant.client.talker import Talker
from federant.exchange import AnalyticsDataType, LogWriterName, create_analytic_dxo

__all__ = ["MLflowWriter", "SummaryWriter", "WandBWriter"]

FLUSH_SECONDS: Final = 5.0
"""How long flush() waits at most."""

_QUICK: Final = frozenset({float, int})
_QUICK_STEPS: Final = frozenset({int, type(None)})


class _Writer:
    """What the writers have in common.

    ``ctx`` is what init() returned, or an agent; without it what this process has joined with, by
    init() or join(), which may come after the writer is made. Every method that logs returns at
    once: True if the record was taken, False if it was dropped, which ``agent.metrics_dropped``
    counts. Steps are ints of at least 0, and numbers may be tensors of one element, also NaN and
    infinite; else TypeError or ValueError. Of a script's many processes only rank 0 may log: in
    others ApiCallError.
    """

    _vocabulary: ClassVar[LogWriterName]

    def __init__(self, ctx: APIContext | FlareAgent | None = None) -> None:
        self._ctx = ctx

    def flush(self) -> None:
        """Wait until what was logged has been read by the client job, at most FLUSH_SECONDS."""
        agent = self._agent()
        if isinstance(agent, FlareAgent):
            agent.flush_metrics(FLUSH_SECONDS)

    def close(self) -> None:
        """The same as flush: the agent itself goes on."""
        self.flush()

    def _agent(self) -> Talker | FlareAgent:
        """Who logs, found anew each time: a process may leave a federation, and join again."""
        context = self._ctx if self._ctx is not None else _default_context()
        if isinstance(context, APIContext):
            return context.api.agent
        return joined_agent(type(self).__name__) if context is None else context

    def _log(self, key: str, value: Any, data_type: AnalyticsDataType, **more: Any) -> bool:
        step = _number(more.pop("global_step", None))
        if step is not None:
            more["global_step"] = step
        record = create_analytic_dxo(key, value, data_type, self._vocabulary, **more)
        return self._agent().log(record)

    def _log_number(self, key: str, value: Any, step: Any, data_type: AnalyticsDataType) -> bool:
        """The same for one number; what is usual goes the short way."""
        agent = self._agent()
        value, step = _number(value), _number(step)
        if isinstance(agent, FlareAgent) and type(value) in _QUICK and type(step) in _QUICK_STEPS:
            return agent.log_number(key, value, step, data_type, self._vocabulary)
        return self._log(key, value, data_type, global_step=step)


def _default_context() -> APIContext | None:
    """What init() made in this process."""
    try:
        return get_context()
    except ApiCallError:
        return None


class SummaryWriter(_Writer):
    """Logs in TensorBoard's words."""

    _vocabulary = LogWriterName.TORCH_TB

    def add_scalar(
        self, tag: str, scalar: float, global_step: int | None = None, **kwargs: Any
    ) -> bool:
        """Log one number; further keywords travel along."""
        if not kwargs:
            return self._log_number(tag, scalar, global_step, AnalyticsDataType.SCALAR)
        value = _number(scalar)
        return self._log(tag, value, AnalyticsDataType.SCALAR, global_step=global_step, **kwargs)

    def add_scalars(
        self,
        tag: str,
        scalars: Mapping[str, float],
        global_step: int | None = None,
        **kwargs: Any,
    ) -> bool:
        """Log numbers under ``tag/name`` each."""
        values = _numbers(scalars)
        return self._log(tag, values, AnalyticsDataType.SCALARS, global_step=global_step, **kwargs)

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, **kwargs: Any
    ) -> bool:
        """Log a text of any length, also an empty one."""
        return self._log(
            tag, text_string, AnalyticsDataType.TEXT, global_step=global_step, **kwargs
        )

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        dataformats: str = "CHW",
        **kwargs: Any,
    ) -> bool:
        """Log an image: an array or tensor laid out as CHW, HWC or HW, or a PIL image.

        uint8 is taken as it is, floats are brightness from 0.0 to 1.0. At most 16 MiB of pixels.
        """
        pixels = pixels_of(tag, img_tensor, dataformats)
        return self._log(tag, pixels, AnalyticsDataType.IMAGE, global_step=global_step, **kwargs)


class MLflowWriter(_Writer):
    """Logs in MLflow's words."""

    _vocabulary = LogWriterName.MLFLOW

    def log_param(self, key: str, value: Any) -> bool:
        """Log a parameter of the training; MLflow keeps the first value of each."""
        return self._log(key, _plain(value), AnalyticsDataType.PARAMETER)

    def log_params(self, values: Mapping[str, Any]) -> bool:
        return self._log("", _plain_all(values), AnalyticsDataType.PARAMETERS)

    def log_metric(self, key: str, value: float, step: int | None = None) -> bool:
        return self._log_number(key, value, step, AnalyticsDataType.METRIC)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> bool:
        return self._log("", _numbers(metrics), AnalyticsDataType.METRICS, global_step=step)

    def log_text(self, text: str, artifact_file_path: str) -> bool:
        """Log a text of any length that becomes a file of that name in the run's artifacts."""
        key = artifact_file_path
        return self._log(key, text, AnalyticsDataType.TEXT, path=artifact_file_path)

    def log_image(self, image: Any, key: str, step: int | None = None) -> bool:
        """Log an image: an array of height by width (by channels), or a PIL image."""
        pixels = pixels_of(key, image, "HWC" if getattr(image, "ndim", 3) == 3 else "HW")
        return self._log(key, pixels, AnalyticsDataType.IMAGE, global_step=step)

    def set_tag(self, key: str, tag: Any) -> bool:
        """Set a tag of the run; the last value counts."""
        return self._log(key, _plain(tag), AnalyticsDataType.TAG)

    def set_tags(self, tags: Mapping[str, Any]) -> bool:
        return self._log("", _plain_all(tags), AnalyticsDataType.TAGS)


class WandBWriter(_Writer):
    """Logs in the words of Weights & Biases."""

    _vocabulary = LogWriterName.WANDB

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> bool:
        """Log numbers and texts by name; of a dict in a dict the names are joined by ``/``."""
        return self._log("", _flat(metrics), AnalyticsDataType.METRICS, global_step=step)

    def log_image(self, key: str, image: Any, step: int | None = None) -> bool:
        """Log an image: an array of height by width (by channels), or a PIL image."""
        pixels = pixels_of(key, image, "HWC" if getattr(image, "ndim", 3) == 3 else "HW")
        return self._log(key, pixels, AnalyticsDataType.IMAGE, global_step=step)


def _number(value: Any) -> Any:
    """Of a tensor or an array of one element, of whatever framework, its number."""
    if type(value) in _QUICK or isinstance(value, Real) or not hasattr(value, "item"):
        return value
    return value.item()


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value) for name, value in _entries(values)}


def _plain(value: Any) -> Any:
    """A number or a text as it is; of anything else what print shows."""
    value = _number(value)
    return value if isinstance(value, Real | str) else str(value)


def _plain_all(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in _entries(values)}


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in _entries(values):
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}/")
        else:
            found[f"{before}{name}"] = _plain(value)
    return found


def _entries(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if not isinstance(values, Mapping):
        raise TypeError(f"a dict of names and values is needed, got {type(values).__name__}")
    return [(str(name), value) for name, value in values.items()]
