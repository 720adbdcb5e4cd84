"""What travels between server, site and trainer: DXO, Shareable and the names in them.

No input or output lives here but that of DXO files, and no knowledge of how bytes are laid out.
"""

from federant.exchange.analytics import (
    ANALYTIC_EVENT_TYPE,
    AnalyticsData,
    AnalyticsDataType,
    LogWriterName,
    TrackConst,
    create_analytic_dxo,
)
from federant.exchange.dxo import (
    DXO,
    from_bytes,
    from_dict,
    from_file,
    from_shareable,
    get_leaf_dxos,
)
from federant.exchange.fl_model import FLModel, FLModelConst, ParamsType
from federant.exchange.fl_model_conversion import FLModelUtils
from federant.exchange.names import (
    DataKind,
    FLMetaKey,
    HeaderKey,
    MetaKey,
    ReservedHeaderKey,
    ReturnCode,
)
from federant.exchange.shareable import Shareable, make_copy, make_reply

__all__ = [
    "ANALYTIC_EVENT_TYPE",
    "DXO",
    "AnalyticsData",
    "AnalyticsDataType",
    "DataKind",
    "FLMetaKey",
    "FLModel",
    "FLModelConst",
    "FLModelUtils",
    "HeaderKey",
    "LogWriterName",
    "MetaKey",
    "ParamsType",
    "ReservedHeaderKey",
    "ReturnCode",
    "Shareable",
    "TrackConst",
    "create_analytic_dxo",
    "from_bytes",
    "from_dict",
    "from_file",
    "from_shareable",
    "get_leaf_dxos",
    "make_copy",
    "make_reply",
]
