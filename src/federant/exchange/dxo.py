"""DXO, the data exchange object: a kind, data and meta, and its way into a Shareable and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from os import PathLike, fstat
from pathlib import Path
from typing import Any

from federant.exchange.names import DataKind, MetaKey, ReservedHeaderKey
from federant.exchange.serialization import installed
from federant.exchange.shareable import Shareable

CONTENT_TYPE = "DXO"
"""The Shareable's key for the DXO's parts, and the value of its content type header."""

_KIND, _DATA, _META = "kind", "data", "meta"


class DXO:
    """Data of one kind with its meta.

    `data` is a dict (of arrays for weights, of numbers for metrics), or anything if the kind is
    APP_DEFINED; None becomes an empty dict, also for `meta`. ValueError if a part has the wrong
    type. Nothing is copied.
    """

    def __init__(self, data_kind: str, data: Any = None, meta: dict[str, Any] | None = None):
        self.data_kind = data_kind
        self.data: Any = _or_empty(data)
        self.meta: dict[str, Any] = _or_empty(meta)
        error = self.validate()
        if error:
            raise ValueError(f"invalid DXO: {error}")

    def __repr__(self) -> str:
        parts = isinstance(self.data, dict)
        held = f"{len(self.data)} entries" if parts else type(self.data).__name__
        return f"<DXO {self.data_kind}: {held}, meta {self.meta!r}>"

    def validate(self) -> str:
        """An empty string if all is well, else one sentence that says what is wrong."""
        return _problem(self.data_kind, self.data, self.meta)

    def get_meta_prop(self, key: str, default: Any = None) -> Any:
        return self.meta.get(key, default) if self.meta else default

    def set_meta_prop(self, key: str, value: Any) -> None:
        self.meta = _or_empty(self.meta)
        self.meta[key] = value

    def remove_meta_props(self, keys: Iterable[str]) -> None:
        """Remove these keys; unknown ones are ignored."""
        for key in keys:
            self.meta.pop(key, None)

    def get_meta_props(self) -> dict[str, Any]:
        """The meta dict itself, not a copy."""
        return self.meta

    def update_meta_props(self, meta: Mapping[str, Any]) -> None:
        """Add deep copies of these entries."""
        self.meta = _or_empty(self.meta)
        self.meta.update(deepcopy(dict(meta)))

    def add_filter_history(self, filter_name: str | list[str]) -> None:
        """Append a filter's name, or several, to meta `filter_history`; others are ignored."""
        if not filter_name or not isinstance(filter_name, str | list):
            return
        names = [filter_name] if isinstance(filter_name, str) else filter_name
        history = self.get_filter_history() or []
        self.set_meta_prop(MetaKey.FILTER_HISTORY, [*history, *names])

    def get_filter_history(self) -> Any:
        """The names of the filters that this DXO went through, or None."""
        return self.get_meta_prop(MetaKey.FILTER_HISTORY)

    def to_dict(self) -> dict[str, Any]:
        """The three parts by name; the very objects, not copies."""
        return {_KIND: self.data_kind, _DATA: self.data, _META: self.meta}

    def update_shareable(self, s: Shareable) -> Shareable:
        """Put this DXO into `s`, keep its other entries and headers, and return `s`."""
        s.set_header(ReservedHeaderKey.CONTENT_TYPE, CONTENT_TYPE)
        s[CONTENT_TYPE] = self.to_dict()
        return s

    def to_shareable(self) -> Shareable:
        """A new Shareable that holds this DXO's very objects."""
        return self.update_shareable(Shareable())

    def to_bytes(self) -> bytes:
        """This DXO as one frame; TypeError naming the path to what cannot travel."""
        return installed().dumps(self)

    def to_file(self, file_path: str | PathLike[str]) -> None:
        """Write this DXO's frame, which is a safetensors file.

        An old file of that name is replaced as a whole, or stays if writing fails.
        """
        path = Path(file_path)
        aside = path.with_name(path.name + ".partial")
        chunks = installed().chunks(self)
        try:
            with aside.open("wb") as file:
                file.writelines(chunks)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def from_shareable(s: Shareable) -> DXO:
    """The DXO in a Shareable, round the same data.

    ValueError if there is none, or one that is not valid.
    """
    content_type = s.get_header(ReservedHeaderKey.CONTENT_TYPE)
    if content_type != CONTENT_TYPE:
        raise ValueError(
            f"this Shareable holds no DXO: its header {ReservedHeaderKey.CONTENT_TYPE!r} is "
            f"{content_type!r}, not {CONTENT_TYPE!r}; make it with DXO.to_shareable"
        )
    encoded = s.get(CONTENT_TYPE)
    if not encoded:
        raise ValueError(f"this Shareable says that it holds a DXO, its {CONTENT_TYPE!r} is empty")
    return from_dict(encoded)


def from_dict(encoded: dict[str, Any]) -> DXO:
    """The DXO whose three parts are in a dict as `to_dict` makes it; else ValueError."""
    if not isinstance(encoded, dict):
        raise ValueError(f"a DXO's parts must be a dict, got {type(encoded).__name__}")
    kind = encoded.get(_KIND)
    if kind is None:
        raise ValueError(f"a DXO's parts lack {_KIND!r}: they are {sorted(encoded, key=str)}")
    return DXO(kind, encoded.get(_DATA), encoded.get(_META))


def from_bytes(data: bytes | bytearray | memoryview) -> DXO:
    """The DXO in a frame.

    Its arrays can be written to: they are views of `data`, or of a copy if that is read-only.
    ValueError if the bytes are no frame or hold something other than a DXO.
    """
    found = installed().loads(data)
    if not isinstance(found, DXO):
        raise ValueError(f"these bytes hold a {type(found).__name__}, not a DXO")
    return found


def from_file(file_path: str | PathLike[str]) -> DXO:
    """The DXO in a file that `DXO.to_file` wrote; ValueError if it holds no DXO."""
    with Path(file_path).open("rb") as file:
        data = bytearray(fstat(file.fileno()).st_size)
        read = file.readinto(data)
    try:
        return from_bytes(memoryview(data)[:read])
    except ValueError as error:
        raise ValueError(f"{file_path}: {error}") from error


def get_leaf_dxos(dxo: DXO, root_name: str = "") -> tuple[dict[str, DXO], list[str]]:
    """The DXOs in a (nested) COLLECTION by their path of keys, and what is wrong in it.

    Keys are joined by dots behind `root_name`; a DXO that is no collection is its own leaf. An
    entry that is no DXO becomes a sentence in the second part.
    """
    leaves: dict[str, DXO] = {}
    errors: list[str] = []
    _collect(dxo, root_name, leaves, errors)
    return leaves, errors


def _or_empty(part: Any) -> Any:
    # Users also set `dxo.meta = None` to be rid of it, whatever its annotation says.
    return {} if part is None else part


def _problem(kind: object, data: object, meta: object) -> str:
    if not isinstance(kind, str):
        return f"data_kind must be a DataKind or str, got {type(kind).__name__}"
    if data is None:
        return "data is missing"
    if kind != DataKind.APP_DEFINED and not isinstance(data, dict):
        return f"data must be a dict for kind {kind}, got {type(data).__name__}"
    if not isinstance(meta, dict):
        return f"meta must be a dict, got {type(meta).__name__}"
    return ""


def _collect(found: object, path: str, leaves: dict[str, DXO], errors: list[str]) -> None:
    if not isinstance(found, DXO):
        errors.append(f"{path!r} must be a DXO, it is {type(found).__name__}")
    elif found.data_kind != DataKind.COLLECTION:
        leaves[path] = found
    else:
        for key, value in found.data.items():
            try:
                below = f"{path}.{key}"
            except ValueError:  # an int of more digits than Python writes
                errors.append(f"{path!r} has an entry under a number of very many digits")
            else:
                _collect(value, below, leaves, errors)
