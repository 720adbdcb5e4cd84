"""What FOBS calls things: the keys of a named value, type names, and the classes behind them."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from enum import Enum
from typing import Final

import numpy as np

from federant.exchange import DXO, AnalyticsDataType, DataKind, LogWriterName, ParamsType, Shareable

TYPE: Final = "__fobs_type__"
DATA: Final = "__fobs_data__"
DECOMPOSER: Final = "__fobs_dc__"

NDARRAY: Final = "numpy.ndarray"
DATUM_REF: Final = "nvflare.fuel.utils.fobs.datum.DatumRef"

_CORE = "nvflare.fuel.utils.fobs.decomposers.core_decomposers"
_GENERIC = "nvflare.fuel.utils.fobs.decomposer"
_NUMPY = "nvflare.app_common.decomposers.numpy_decomposers"

ENUMS: Final[dict[str, type[Enum]]] = {
    "nvflare.apis.dxo.DataKind": DataKind,
    "nvflare.apis.analytix.AnalyticsDataType": AnalyticsDataType,
    "nvflare.apis.analytix.LogWriterName": LogWriterName,
    "nvflare.app_common.abstract.fl_model.ParamsType": ParamsType,
}

SCALARS: Final[dict[str, type[np.generic]]] = {
    "numpy.float32": np.float32,
    "numpy.float64": np.float64,
    "numpy.int32": np.int32,
    "numpy.int64": np.int64,
}

NAMES: Final[dict[type, tuple[str, str]]] = {
    tuple: ("tuple", f"{_CORE}.TupleDecomposer"),
    set: ("set", f"{_CORE}.SetDecomposer"),
    OrderedDict: ("collections.OrderedDict", f"{_CORE}.OrderedDictDecomposer"),
    datetime: ("datetime.datetime", f"{_CORE}.DatetimeDecomposer"),
    Shareable: ("nvflare.apis.shareable.Shareable", f"{_GENERIC}.DictDecomposer"),
    DXO: (
        "nvflare.apis.dxo.DXO",
        "nvflare.apis.utils.decomposers.flare_decomposers.DXODecomposer",
    ),
    np.ndarray: (NDARRAY, f"{_NUMPY}.NumpyArrayDecomposer"),
    **{
        cls: (name, f"{_NUMPY}.{cls.__name__.capitalize()}ScalarDecomposer")
        for name, cls in SCALARS.items()
    },
    **{cls: (name, f"{_GENERIC}.EnumTypeDecomposer") for name, cls in ENUMS.items()},
}
"""By class: the name of its type, and of what takes it apart."""

DATUM_REF_DECOMPOSER: Final = f"{_GENERIC}.DataClassDecomposer"
