"""A FlareAgent whose tasks are FLModels, and to which results are handed as FLModels."""

from __future__ import annotations

from typing import Any, Protocol

from federant.client.conversion import shareable_of_result
from federant.client.flare_agent import FlareAgent
from federant.exchange import FLModel, FLModelUtils, HeaderKey, Shareable

__all__ = ["FlareAgentWithFLModel", "ParamsConverter"]


class ParamsConverter(Protocol):
    """Changes what is in a Shareable, from one form of parameters to another."""

    def process(self, task_name: str, shareable: Shareable, fl_ctx: Any) -> Shareable:
        """The Shareable with its parameters changed; ``fl_ctx`` has get_prop and set_prop."""
        ...


class FlareAgentWithFLModel(FlareAgent):
    """As FlareAgent, but for the conversions: ``task.data`` is an FLModel.

    ``from_nvflare_converter`` is applied to each task before, ``to_nvflare_converter`` to each
    result after it is converted; the other arguments are FlareAgent's.
    """

    def __init__(
        self,
        *args: Any,
        from_nvflare_converter: ParamsConverter | None = None,
        to_nvflare_converter: ParamsConverter | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.from_nvflare_converter = from_nvflare_converter
        self.to_nvflare_converter = to_nvflare_converter
        self._converters_share = _Props()
        self._task_name = ""

    def shareable_to_task_data(self, shareable: Shareable) -> FLModel:
        """The FLModel in it, round the same objects; ValueError if there is none."""
        self._task_name = str(shareable.get_header(HeaderKey.TASK_NAME, ""))
        if self.from_nvflare_converter is not None:
            shareable = self.from_nvflare_converter.process(
                self._task_name, shareable, self._converters_share
            )
        return FLModelUtils.from_shareable(shareable)

    def task_result_to_shareable(self, result: Any, rc: str) -> Shareable:
        """Makes what travels of an FLModel; of None, or a DXO, as FlareAgent does.

        TypeError for another type, ValueError for an FLModel without params and metrics.
        """
        if not isinstance(result, FLModel):
            return shareable_of_result(result, rc)
        shareable = FLModelUtils.to_shareable(result)
        if self.to_nvflare_converter is not None:
            shareable = self.to_nvflare_converter.process(
                self._task_name, shareable, self._converters_share
            )
        shareable.set_return_code(rc)
        return shareable


class _Props:
    """What two converters let each other know, by name."""

    def __init__(self) -> None:
        self._props: dict[str, Any] = {}

    def get_prop(self, key: str, default: Any = None) -> Any:
        return self._props.get(key, default)

    def set_prop(self, key: str, value: Any, *_private_and_sticky: Any, **_: Any) -> None:
        self._props[key] = value
