"""FLModel, and its ways into a Shareable and a DXO and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import federant
import federant.codec
from federant.exchange import (
    DXO,
    DataKind,
    FLModel,
    FLModelUtils,
    HeaderKey,
    MetaKey,
    ParamsType,
    ReturnCode,
    Shareable,
    from_shareable,
    make_reply,
)


def travelled(model: FLModel) -> FLModel:
    return FLModelUtils.from_shareable(
        Shareable.from_bytes(FLModelUtils.to_shareable(model).to_bytes())
    )


def test_params_without_a_type_are_full() -> None:
    assert FLModel(params={"w": 1}).params_type is ParamsType.FULL
    assert FLModel(metrics={"loss": 1.0}).params_type is None


def test_a_type_may_be_given_as_its_plain_string() -> None:
    assert FLModel("DIFF", {"w": 1}).params_type is ParamsType.DIFF


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"params_type": "FULL"}, "params_type FULL needs params, got None"),
        ({"params_type": "HALF", "params": {}}, "must be FULL or DIFF, got 'HALF'"),
        ({"current_round": -1}, "current_round of an FLModel must be at least 0, got -1"),
    ],
)
def test_what_makes_no_model_is_a_value_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FLModel(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"total_rounds": 1.5}, "total_rounds of an FLModel must be an int .* got 1.5"),
        ({"current_round": True}, "current_round .* got True of type bool"),
        ({"metrics": 0.9}, "metrics of an FLModel must be a dict by name, .* got 0.9"),
        ({"meta": []}, "meta of an FLModel must be a dict .* of type list"),
    ],
)
def test_a_part_of_the_wrong_type_is_a_type_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        FLModel(**arguments)


def test_rounds_may_be_numpy_integers() -> None:
    assert type(FLModel(current_round=np.int64(3)).current_round) is int  # type: ignore[arg-type]


def test_the_meta_given_is_the_meta_held() -> None:
    meta: dict[str, Any] = {}
    assert FLModel(meta=meta).meta is meta


def test_it_is_shown_by_what_it_holds_and_not_by_its_numbers() -> None:
    model = FLModel(params={"w": np.zeros(1000)}, metrics={"loss": 1.0}, current_round=2)
    assert str(model) == (
        "FLModel(params_type=FULL, params=1, metrics=1, start_round=0, current_round=2)"
    )
    assert model.summary()["params"] == 1


@pytest.mark.parametrize(
    ("params_type", "kind"),
    [(ParamsType.FULL, DataKind.WEIGHTS), (ParamsType.DIFF, DataKind.WEIGHT_DIFF)],
)
def test_params_travel_as_the_dxo_that_their_type_names(params_type: str, kind: str) -> None:
    params = {"w": np.arange(3.0), "count": None, "tree": bytearray(b"xgb")}
    model = FLModel(params_type, params, metrics={"acc": 0.5}, meta={"steps": 7})
    dxo = from_shareable(FLModelUtils.to_shareable(model))
    assert dxo.data_kind == kind
    assert dxo.data is params
    assert dxo.meta == {"steps": 7, "initial_metrics": {"acc": 0.5}}
    back = travelled(model)
    assert back.params_type == params_type
    np.testing.assert_array_equal(back.params.pop("w"), np.arange(3.0))
    assert back.params == {"count": None, "tree": bytearray(b"xgb")}
    assert (back.metrics, back.meta) == ({"acc": 0.5}, {"steps": 7})


@pytest.mark.parametrize("metrics", [{}, {"report": "all good", "auc": 0.9}])
def test_metrics_alone_travel_as_metrics(metrics: dict[str, Any]) -> None:
    model = FLModel(metrics=metrics)
    assert from_shareable(FLModelUtils.to_shareable(model)).data_kind == DataKind.METRICS
    back = travelled(model)
    assert back.metrics == metrics
    assert back.params is None


@pytest.mark.parametrize("rest", [{"params": {"w": 1.0}}, {"metrics": {"acc": 1.0}}])
def test_optimizer_params_travel(rest: dict[str, Any]) -> None:
    back = travelled(FLModel(optimizer_params={"momentum": np.ones(2)}, **rest))
    np.testing.assert_array_equal(back.optimizer_params["momentum"], np.ones(2))
    assert back.meta == {}


def test_rounds_travel_as_headers() -> None:
    model = FLModel(params={}, start_round=1, current_round=2, total_rounds=5)
    shareable = FLModelUtils.to_shareable(model)
    assert shareable.get_header(HeaderKey.NUM_ROUNDS) == 5
    back = travelled(model)
    assert (back.start_round, back.current_round, back.total_rounds) == (1, 2, 5)


def test_metrics_of_a_received_model_do_not_go_back_with_its_meta() -> None:
    received = travelled(FLModel(params={"w": 1.0}, metrics={"acc": 0.1}))
    assert travelled(FLModel(params={"w": 2.0}, meta=received.meta)).metrics is None


def test_site_and_job_in_the_headers_become_meta() -> None:
    shareable = FLModelUtils.to_shareable(FLModel(metrics={}))
    shareable.set_header(HeaderKey.JOB_ID, "job-1")
    shareable.set_header(HeaderKey.SITE_NAME, "site-1")
    model = FLModelUtils.from_shareable(shareable)
    assert model.meta == {MetaKey.JOB_ID: "job-1", MetaKey.SITE_NAME: "site-1"}


def test_a_task_that_asks_for_a_model_names_it_in_meta() -> None:
    asked = Shareable()
    asked.set_header(HeaderKey.SUBMIT_MODEL_NAME, "best_model")
    model = FLModelUtils.from_shareable(asked)
    assert model.meta == {MetaKey.SUBMIT_MODEL_NAME: "best_model"}
    assert model.params is None


def test_another_kind_of_dxo_comes_back_as_full_params() -> None:
    shareable = DXO(DataKind.STATISTICS, {"mean": 2.0}).to_shareable()
    model = FLModelUtils.from_shareable(shareable)
    assert (model.params_type, model.params) == (ParamsType.FULL, {"mean": 2.0})


def test_a_mere_return_code_is_told_apart_from_a_model() -> None:
    reply = make_reply(ReturnCode.TIMEOUT, {HeaderKey.ERROR: "too slow"})
    with pytest.raises(ValueError, match="only the return code 'TIMEOUT', error 'too slow'"):
        FLModelUtils.from_shareable(reply)
    with pytest.raises(ValueError, match="it has no DXO"):
        FLModelUtils.from_shareable(Shareable())


def test_a_model_that_holds_nothing_does_not_travel() -> None:
    with pytest.raises(ValueError, match="needs params or metrics to travel"):
        FLModelUtils.to_shareable(FLModel())
    with pytest.raises(ValueError, match=r"got list; give them a name: FLModel\(params="):
        FLModelUtils.to_shareable(FLModel(params=[1.0]))


def test_kind_fl_model_carries_everything() -> None:
    model = FLModel(ParamsType.DIFF, {"w": 1.0}, {"m": 2.0}, {"acc": 0.5}, 1, 2, 3, {"steps": 4})
    dxo = FLModelUtils.to_dxo(model)
    assert dxo.data_kind == DataKind.FL_MODEL
    assert vars(FLModelUtils.from_dxo(dxo)) == vars(model)
    assert vars(FLModelUtils.from_shareable(dxo.to_shareable())) == vars(model)
    with pytest.raises(ValueError, match="a DXO of kind FL_MODEL is needed"):
        FLModelUtils.from_dxo(DXO(DataKind.METRICS))


def test_a_params_type_travels_among_meta() -> None:
    back = travelled(FLModel(metrics={}, meta={"wanted": ParamsType.DIFF}))
    assert back.meta["wanted"] is ParamsType.DIFF


def test_an_update_replaces_or_is_added() -> None:
    model = FLModel(params={"w": np.ones(2), "b": 1.0}, meta={"old": 1})
    FLModelUtils.update_model(
        model, FLModel("DIFF", {"w": np.ones(2)}, meta={"new": 2}), replace_meta=False
    )
    np.testing.assert_array_equal(model.params["w"], [2.0, 2.0])
    assert model.params["b"] == 1.0
    assert model.meta == {"old": 1, "new": 2}
    FLModelUtils.update_model(model, FLModel(params={"w": 5.0}, metrics={"acc": 1.0}))
    assert (model.params, model.metrics, model.meta) == ({"w": 5.0}, {"acc": 1.0}, {})
    with pytest.raises(ValueError, match="'z', which the model lacks"):
        FLModelUtils.update_model(model, FLModel("DIFF", {"z": 1.0}))


def test_meta_props_are_read_and_set_on_the_model() -> None:
    model = FLModel(metrics={})
    FLModelUtils.set_meta_prop(model, MetaKey.CONFIGS, {"lr": 0.1})
    assert FLModelUtils.get_configs(model) == {"lr": 0.1}
    assert FLModelUtils.get_meta_prop(model, "absent", 3) == 3
    with pytest.raises(TypeError, match="model must be an FLModel, got dict"):
        FLModelUtils.get_meta_prop({}, "x")  # type: ignore[arg-type]


def test_it_is_offered_where_scripts_look_for_it() -> None:
    assert federant.FLModel is FLModel
    assert federant.ParamsType is ParamsType
