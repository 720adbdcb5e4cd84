"""What a trainer logs, as a DXO and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federant.exchange import (
    DXO,
    AnalyticsData,
    AnalyticsDataType,
    DataKind,
    LogWriterName,
    create_analytic_dxo,
)


def test_an_analytic_dxo_has_tag_value_step_and_all_arguments_again() -> None:
    dxo = create_analytic_dxo("loss", 0.5, AnalyticsDataType.SCALAR, global_step=3, path="p", x=1)
    assert dxo.data_kind == DataKind.ANALYTIC
    assert dxo.data == {
        "track_key": "loss",
        "track_value": 0.5,
        "global_step": 3,
        "path": "p",
        "analytics_kwargs": {"global_step": 3, "path": "p", "x": 1},
    }
    assert dxo.meta == {
        "analytics_data_type": AnalyticsDataType.SCALAR,
        "tracker_key": LogWriterName.TORCH_TB,
    }


@pytest.mark.parametrize(
    "value", [np.float32(0.5), np.float64(0.5), 0.5], ids=lambda v: type(v).__name__
)
def test_scalars_of_any_number_type_become_python_numbers(value: Any) -> None:
    dxo = create_analytic_dxo("loss", value, AnalyticsDataType.METRIC)
    assert type(dxo.data["track_value"]) is float
    counted = create_analytic_dxo(
        "n", np.int32(3), AnalyticsDataType.SCALAR, global_step=np.int8(1)
    )
    assert type(counted.data["track_value"]) is int
    assert type(counted.data["global_step"]) is int


def test_a_record_comes_back_in_the_receivers_words() -> None:
    dxo = create_analytic_dxo(
        "loss", 0.5, AnalyticsDataType.METRIC, LogWriterName.MLFLOW, global_step=3, path="p"
    )
    back = AnalyticsData.from_dxo(dxo)
    assert (back.tag, back.value, back.step, back.path) == ("loss", 0.5, 3, "p")
    assert back.data_type is AnalyticsDataType.SCALAR
    assert back.sender is LogWriterName.MLFLOW
    same = AnalyticsData.from_dxo(dxo, LogWriterName.MLFLOW)
    assert same.data_type is AnalyticsDataType.METRIC
    assert "tag='loss', value=0.5" in str(same)


@pytest.mark.parametrize(
    ("sent", "sender", "receiver", "received"),
    [
        ("SCALARS", "TORCH_TB", "WANDB", "METRICS"),
        ("PARAMETERS", "MLFLOW", "TORCH_TB", "SCALARS"),
        ("PARAMETER", "MLFLOW", "WANDB", "PARAMETER"),
        ("TEXT", "WANDB", "TORCH_TB", "TEXT"),
    ],
)
def test_types_are_converted_between_writers(
    sent: str, sender: str, receiver: str, received: str
) -> None:
    converted = AnalyticsData.convert_data_type(
        AnalyticsDataType[sent], LogWriterName[sender], LogWriterName[receiver]
    )
    assert converted is AnalyticsDataType[received]


@pytest.mark.parametrize(
    ("tag", "value", "kind", "arguments", "message"),
    [
        (3, 1.0, "SCALAR", {}, "key must be of type str, got int"),
        ("a", "x", "SCALAR", {}, "value of SCALAR 'a' must be a number, got str"),
        ("a", 1.0, "METRICS", {}, "value of METRICS 'a' must be of type dict, got float"),
        ("a", 1.0, "TEXT", {}, "value of TEXT 'a' must be of type str, got float"),
        ("a", 1.0, "SCALAR", {"global_step": 1.5}, "global_step of 'a' must be an int, got float"),
    ],
)
def test_a_wrong_type_is_named(
    tag: Any, value: Any, kind: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        create_analytic_dxo(tag, value, AnalyticsDataType[kind], **arguments)


def test_a_data_type_must_be_the_enum() -> None:
    with pytest.raises(TypeError, match="data_type must be of type AnalyticsDataType, got str"):
        create_analytic_dxo("a", 1, "SCALAR")  # type: ignore[arg-type]


def test_a_negative_step_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="global_step of 'a' must be at least 0, got -1"):
        create_analytic_dxo("a", 1, AnalyticsDataType.SCALAR, global_step=-1)


def test_from_dxo_refuses_other_kinds() -> None:
    with pytest.raises(ValueError, match="an analytic DXO is needed"):
        AnalyticsData.from_dxo(DXO(DataKind.METRICS, {}))
    with pytest.raises(TypeError, match="data_type must be"):
        AnalyticsData.from_dxo(DXO(DataKind.ANALYTIC, {"track_key": "a", "track_value": 1}))
