"""How a task's Shareable becomes a DXO and a result a Shareable, unless an agent overrides it."""

from __future__ import annotations

from typing import Any

from federant.exchange import DXO, HeaderKey, MetaKey, Shareable, from_shareable

_META_FROM_HEADERS = (
    (HeaderKey.CURRENT_ROUND, MetaKey.CURRENT_ROUND),
    (HeaderKey.NUM_ROUNDS, MetaKey.TOTAL_ROUNDS),
)


def dxo_of_task(shareable: Shareable) -> DXO:
    """The DXO in it, with the rounds that the headers name in its meta; ValueError without one."""
    dxo = from_shareable(shareable)
    for header, meta_key in _META_FROM_HEADERS:
        value = shareable.get_header(header)
        if value is not None:
            dxo.set_meta_prop(meta_key, value)
    return dxo


def shareable_of_result(result: Any, rc: str) -> Shareable:
    """A DXO's Shareable, or for None an empty one, with the return code; else TypeError."""
    if result is None:
        shareable = Shareable()
    elif isinstance(result, DXO):
        shareable = result.to_shareable()
    else:
        raise TypeError(
            f"a result must be a DXO or None, got {type(result).__name__}; return "
            "DXO(DataKind.WEIGHTS, data=...), or override task_result_to_shareable"
        )
    shareable.set_return_code(rc)
    return shareable
