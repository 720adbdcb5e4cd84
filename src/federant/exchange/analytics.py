"""What a trainer logs: the analytic DXO, the kinds of values in it and the writers that made it."""

from __future__ import annotations

from enum import Enum
from numbers import Integral, Real
from typing import Any

from federant.exchange.dxo import DXO
from federant.exchange.names import DataKind

ANALYTIC_EVENT_TYPE = "analytix_log_stats"


class AnalyticsDataType(Enum):
    """What a logged value is."""

    SCALARS = "SCALARS"
    SCALAR = "SCALAR"
    IMAGE = "IMAGE"
    TEXT = "TEXT"
    LOG_RECORD = "LOG_RECORD"
    PARAMETER = "PARAMETER"
    PARAMETERS = "PARAMETERS"
    METRIC = "METRIC"
    METRICS = "METRICS"
    MODEL = "MODEL"
    TAG = "TAG"
    TAGS = "TAGS"
    INIT_DATA = "INIT_DATA"


class LogWriterName(Enum):
    """Whose vocabulary a record speaks."""

    TORCH_TB = "TORCH_TENSORBOARD"
    MLFLOW = "MLFLOW"
    WANDB = "WEIGHTS_AND_BIASES"


class TrackConst:
    """Keys of an analytic DXO's data and meta, and of a tracker's settings."""

    TRACKER_KEY = "tracker_key"
    TRACK_KEY = "track_key"
    TRACK_VALUE = "track_value"
    TAG_KEY = "tag_key"
    TAGS_KEY = "tags_key"
    EXP_TAGS_KEY = "tags_key"
    GLOBAL_STEP_KEY = "global_step"
    PATH_KEY = "path"
    DATA_TYPE_KEY = "analytics_data_type"
    KWARGS_KEY = "analytics_kwargs"
    PROJECT_NAME = "project_name"
    PROJECT_TAGS = "project_name"
    EXPERIMENT_NAME = "experiment_name"
    RUN_NAME = "run_name"
    EXPERIMENT_TAGS = "experiment_tags"
    INIT_CONFIG = "init_config"
    RUN_TAGS = "run_tags"
    SITE_KEY = "site"
    JOB_ID_KEY = "job_id"


_NUMBERS = (AnalyticsDataType.SCALAR, AnalyticsDataType.METRIC)
_DICTS = (
    AnalyticsDataType.SCALARS,
    AnalyticsDataType.METRICS,
    AnalyticsDataType.PARAMETERS,
    AnalyticsDataType.TAGS,
)

# TensorBoard has one word, scalar, where the others tell parameters and metrics apart.
_TO_TENSORBOARD = {
    AnalyticsDataType.PARAMETER: AnalyticsDataType.SCALAR,
    AnalyticsDataType.PARAMETERS: AnalyticsDataType.SCALARS,
    AnalyticsDataType.METRIC: AnalyticsDataType.SCALAR,
    AnalyticsDataType.METRICS: AnalyticsDataType.SCALARS,
}
_FROM_TENSORBOARD = {
    AnalyticsDataType.SCALAR: AnalyticsDataType.METRIC,
    AnalyticsDataType.SCALARS: AnalyticsDataType.METRICS,
}


class AnalyticsData:
    """One logged value.

    `key` is its tag. A SCALAR or METRIC is a number (numpy's too), SCALARS, METRICS, PARAMETERS
    and TAGS are dicts, a TEXT is a str; else TypeError. Keyword arguments travel along; of them
    `global_step` (an int of at least 0, else TypeError or ValueError) and `path` have a meaning.
    """

    def __init__(
        self,
        key: str,
        value: Any,
        data_type: AnalyticsDataType,
        sender: LogWriterName = LogWriterName.TORCH_TB,
        **kwargs: Any,
    ) -> None:
        _check_type("key", key, str)
        _check_type("data_type", data_type, AnalyticsDataType)
        _check_type("sender", sender, LogWriterName)
        self.tag = key
        self.value = _checked_value(key, value, data_type)
        self.data_type = data_type
        self.sender = sender
        self.kwargs: dict[str, Any] = kwargs
        self.step: int | None = _checked_step(key, kwargs.get(TrackConst.GLOBAL_STEP_KEY))
        self.path: Any = kwargs.get(TrackConst.PATH_KEY)

    def __str__(self) -> str:
        return (
            f"AnalyticsData(tag={self.tag!r}, value={self.value!r}, "
            f"data_type={self.data_type.value}, step={self.step}, sender={self.sender.value})"
        )

    def to_dxo(self) -> DXO:
        """This value as a DXO of kind ANALYTIC."""
        data: dict[str, Any] = {
            TrackConst.TRACK_KEY: self.tag,
            TrackConst.TRACK_VALUE: self.value,
        }
        if self.step is not None:
            data[TrackConst.GLOBAL_STEP_KEY] = self.step
        if self.path is not None:
            data[TrackConst.PATH_KEY] = self.path
        data[TrackConst.KWARGS_KEY] = self.kwargs
        meta = {TrackConst.DATA_TYPE_KEY: self.data_type, TrackConst.TRACKER_KEY: self.sender}
        return DXO(DataKind.ANALYTIC, data, meta)

    @classmethod
    def from_dxo(cls, dxo: DXO, receiver: LogWriterName = LogWriterName.TORCH_TB) -> AnalyticsData:
        """The value in an analytic DXO, its type in the receiver's vocabulary.

        TypeError if `dxo` is no DXO or a part has the wrong type, ValueError for another kind.
        """
        _check_type("dxo", dxo, DXO)
        if dxo.data_kind != DataKind.ANALYTIC:
            raise ValueError(f"an analytic DXO is needed, this is a {dxo!r}")
        data_type = dxo.get_meta_prop(TrackConst.DATA_TYPE_KEY)
        sender = dxo.get_meta_prop(TrackConst.TRACKER_KEY, LogWriterName.TORCH_TB)
        return cls(
            dxo.data.get(TrackConst.TRACK_KEY),
            dxo.data.get(TrackConst.TRACK_VALUE),
            cls.convert_data_type(data_type, sender, receiver),
            sender,
            **(dxo.data.get(TrackConst.KWARGS_KEY) or {}),
        )

    @classmethod
    def convert_data_type(
        cls, sender_data_type: AnalyticsDataType, sender: LogWriterName, receiver: LogWriterName
    ) -> AnalyticsDataType:
        """The receiver's word for what the sender logged."""
        if sender == receiver:
            return sender_data_type
        if receiver is LogWriterName.TORCH_TB:
            return _TO_TENSORBOARD.get(sender_data_type, sender_data_type)
        return _FROM_TENSORBOARD.get(sender_data_type, sender_data_type)


def create_analytic_dxo(
    tag: str,
    value: Any,
    data_type: AnalyticsDataType,
    writer: LogWriterName = LogWriterName.TORCH_TB,
    **kwargs: Any,
) -> DXO:
    """A DXO of kind ANALYTIC for `FlareAgent.log`; arguments and errors as for AnalyticsData."""
    return AnalyticsData(tag, value, data_type, writer, **kwargs).to_dxo()


def _checked_value(tag: str, value: Any, data_type: AnalyticsDataType) -> Any:
    if data_type in _NUMBERS:
        if not isinstance(value, Real):
            raise TypeError(
                f"value of {data_type.value} {tag!r} must be a number, got {type(value).__name__}"
            )
        return int(value) if isinstance(value, Integral) else float(value)
    if data_type in _DICTS:
        _check_type(f"value of {data_type.value} {tag!r}", value, dict)
    elif data_type is AnalyticsDataType.TEXT:
        _check_type(f"value of {data_type.value} {tag!r}", value, str)
    return value


def _checked_step(tag: str, step: Any) -> int | None:
    if step is None:
        return None
    if not isinstance(step, Integral):
        raise TypeError(f"global_step of {tag!r} must be an int, got {type(step).__name__}")
    if int(step) < 0:
        raise ValueError(f"global_step of {tag!r} must be at least 0, got {step}")
    return int(step)


def _check_type(what: str, value: object, allowed: type) -> None:
    if not isinstance(value, allowed):
        raise TypeError(f"{what} must be of type {allowed.__name__}, got {type(value).__name__}")
