"""FLModel's ways into a Shareable or a DXO, and back."""

from __future__ import annotations

from typing import Any

from federant.exchange.dxo import CONTENT_TYPE, DXO, from_shareable
from federant.exchange.fl_model import FLModel, FLModelConst, ParamsType
from federant.exchange.names import DataKind, HeaderKey, MetaKey
from federant.exchange.shareable import Shareable

_KINDS = {ParamsType.FULL: DataKind.WEIGHTS, ParamsType.DIFF: DataKind.WEIGHT_DIFF}

_HEADERS = {
    FLModelConst.START_ROUND: HeaderKey.START_ROUND,
    FLModelConst.CURRENT_ROUND: HeaderKey.CURRENT_ROUND,
    FLModelConst.TOTAL_ROUNDS: HeaderKey.NUM_ROUNDS,
}
"""The attributes that travel as headers of a Shareable."""

_ATTRIBUTES = (
    FLModelConst.PARAMS,
    FLModelConst.OPTIMIZER_PARAMS,
    FLModelConst.METRICS,
    FLModelConst.START_ROUND,
    FLModelConst.CURRENT_ROUND,
    FLModelConst.TOTAL_ROUNDS,
    FLModelConst.META,
)

_OPTIMIZER = FLModelConst.OPTIMIZER_PARAMS
"""Its key in a DXO's meta."""


class FLModelUtils:
    """FLModels to and from what travels, and small things done with them."""

    @staticmethod
    def to_shareable(fl_model: FLModel) -> Shareable:
        """A Shareable with a DXO of kind WEIGHTS (FULL), WEIGHT_DIFF (DIFF) or METRICS.

        Metrics beside params become the DXO's meta ``initial_metrics``, optimizer_params its meta
        ``optimizer_params``; rounds become headers. The very objects travel, not copies. ValueError
        for a model with neither params nor metrics, or whose params are no dict.
        """
        dxo = DXO(*_kind_and_data(fl_model))
        dxo.meta.update(fl_model.meta or {})
        if fl_model.params is not None and fl_model.metrics is not None:
            dxo.meta[MetaKey.INITIAL_METRICS] = fl_model.metrics
        if fl_model.optimizer_params is not None:
            dxo.meta[_OPTIMIZER] = fl_model.optimizer_params
        shareable = dxo.to_shareable()
        for attribute, header in _HEADERS.items():
            value = getattr(fl_model, attribute)
            if value is not None:
                shareable.set_header(header, value)
        validate_type = dxo.meta.get(MetaKey.VALIDATE_TYPE)
        if validate_type is not None:
            shareable.set_header(HeaderKey.VALIDATE_TYPE, validate_type)
        return shareable

    @staticmethod
    def from_shareable(shareable: Shareable, fl_ctx: object = None) -> FLModel:  # noqa: ARG004 - callers may pass it
        """The FLModel in a Shareable, round the same objects.

        A DXO of kind METRICS gives metrics, FL_MODEL everything, WEIGHT_DIFF params of type DIFF,
        every other kind FULL params. A task that only asks for a model (header
        ``submit_model_name``) gives one with that name in its meta. ``fl_ctx`` is not looked at.
        ValueError for a Shareable that holds none, such as a mere return code.
        """
        if shareable.get_header(HeaderKey.CONTENT_TYPE) == CONTENT_TYPE:
            model = _from_any_dxo(from_shareable(shareable))
        elif shareable.get_header(HeaderKey.SUBMIT_MODEL_NAME):
            model = FLModel(start_round=None)
        else:
            raise ValueError(_nothing_in(shareable))
        for attribute, header in _HEADERS.items():
            value = shareable.get_header(header)
            if value is not None:
                setattr(model, attribute, value)
        for header, key in (
            (HeaderKey.VALIDATE_TYPE, MetaKey.VALIDATE_TYPE),
            (HeaderKey.SUBMIT_MODEL_NAME, MetaKey.SUBMIT_MODEL_NAME),
            (HeaderKey.JOB_ID, MetaKey.JOB_ID),
            (HeaderKey.SITE_NAME, MetaKey.SITE_NAME),
        ):
            value = shareable.get_header(header)
            if value is not None:
                model.meta[key] = value
        return model

    @staticmethod
    def to_dxo(fl_model: FLModel) -> DXO:
        """A DXO of kind FL_MODEL with every attribute that is not None."""
        data = {
            name: value for name in _ATTRIBUTES if (value := getattr(fl_model, name)) is not None
        }
        if fl_model.params_type is not None:
            data[FLModelConst.PARAMS_TYPE] = str(fl_model.params_type)
        return DXO(DataKind.FL_MODEL, data)

    @staticmethod
    def from_dxo(dxo: DXO) -> FLModel:
        """The FLModel in a DXO of kind FL_MODEL; ValueError for another kind."""
        if dxo.data_kind != DataKind.FL_MODEL:
            raise ValueError(f"a DXO of kind {DataKind.FL_MODEL} is needed, this is a {dxo!r}")
        data = dxo.data
        params_type = data.get(FLModelConst.PARAMS_TYPE)
        rest = {name: data.get(name) for name in _ATTRIBUTES}
        return FLModel(params_type=params_type, **rest)

    @staticmethod
    def get_meta_prop(model: FLModel, key: str, default: Any = None) -> Any:
        """A fact of its meta; TypeError if ``model`` is no FLModel."""
        _check_model("model", model)
        return model.meta.get(key, default) if model.meta else default

    @staticmethod
    def set_meta_prop(model: FLModel, key: str, value: Any) -> None:
        """Put a fact into its meta; TypeError if ``model`` is no FLModel."""
        _check_model("model", model)
        model.meta[key] = value

    @staticmethod
    def get_configs(model: FLModel) -> Any:
        """The configuration in its meta (a dict), or None."""
        return FLModelUtils.get_meta_prop(model, MetaKey.CONFIGS)

    @staticmethod
    def update_model(model: FLModel, model_update: FLModel, replace_meta: bool = True) -> FLModel:
        """Put an update into a FULL model, which is returned, with the update's metrics and meta.

        FULL params take the place of the model's; DIFF ones are added, key by key, to new arrays.
        With ``replace_meta`` False the metas are merged. ValueError if the model is not FULL, the
        update has no params, or a DIFF names what the model lacks.
        """
        _check_model("model", model)
        _check_model("model_update", model_update)
        if model.params_type != ParamsType.FULL:
            raise ValueError(f"only a model with FULL params can be updated, this is {model!r}")
        if model_update.params_type is None:
            raise ValueError(f"an update needs params, this is {model_update!r}")
        if model_update.params_type == ParamsType.FULL:
            model.params = model_update.params
        else:
            lacking = [name for name in model_update.params if name not in model.params]
            if lacking:
                raise ValueError(f"the update has {lacking[0]!r}, which the model lacks")
            for name, change in model_update.params.items():
                model.params[name] = model.params[name] + change
        model.metrics = model_update.metrics
        model.meta = model_update.meta if replace_meta else {**model.meta, **model_update.meta}
        return model


def _kind_and_data(model: FLModel) -> tuple[DataKind, Any]:
    _check_model("fl_model", model)
    if model.params is None:
        if model.metrics is None:
            raise ValueError(
                "an FLModel needs params or metrics to travel, this one has neither; "
                "give FLModel(params=...) or FLModel(metrics=...), which may be empty dicts"
            )
        return DataKind.METRICS, model.metrics
    if not isinstance(model.params, dict):
        raise ValueError(
            f"params of an FLModel must be a dict to travel, got {type(model.params).__name__}; "
            'give them a name: FLModel(params={"model": ...})'
        )
    return _KINDS[ParamsType(model.params_type or ParamsType.FULL)], model.params


def _from_any_dxo(dxo: DXO) -> FLModel:
    if dxo.data_kind == DataKind.FL_MODEL:
        return FLModelUtils.from_dxo(dxo)
    meta = dict(dxo.meta)
    optimizer_params = meta.pop(_OPTIMIZER, None)
    if dxo.data_kind == DataKind.METRICS:
        return FLModel(
            metrics=dxo.data, optimizer_params=optimizer_params, start_round=None, meta=meta
        )
    # They are the model's metrics from here on: left in meta too, they would go back as the
    # script's own when it passes the meta on.
    metrics = meta.pop(MetaKey.INITIAL_METRICS, None)
    difference = dxo.data_kind == DataKind.WEIGHT_DIFF
    return FLModel(
        params_type=ParamsType.DIFF if difference else ParamsType.FULL,
        params=dxo.data,
        optimizer_params=optimizer_params,
        metrics=metrics,
        start_round=None,
        meta=meta,
    )


def _nothing_in(shareable: Shareable) -> str:
    error = shareable.get_header(HeaderKey.ERROR)
    said = f", error {error!r:.300}" if error else ""
    code = shareable.get_header(HeaderKey.RC)
    if code is None:
        return (
            "this Shareable holds no FLModel: it has no DXO; make it with FLModelUtils.to_shareable"
        )
    return (
        f"this Shareable holds no FLModel, only the return code {code!r}{said}; "
        "look at get_return_code() first"
    )


def _check_model(name: str, model: object) -> None:
    if not isinstance(model, FLModel):
        raise TypeError(f"{name} must be an FLModel, got {type(model).__name__}")
