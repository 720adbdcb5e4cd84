"""A FOBS file becomes values again; only types of a fixed list are made, and nothing is called."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgpack
import numpy as np

from federant.codec.decode import check_counts
from federant.codec.errors import FrameError
from federant.codec.fobs import names
from federant.codec.fobs.npy import read_npy
from federant.codec.fobs.sections import Sections, split
from federant.codec.kinds.hashing import check_hashes
from federant.codec.limits import DEFAULT_LIMITS, Limits
from federant.exchange import DXO, ReservedHeaderKey, Shareable

_ATOMS: Final = frozenset({type(None), bool, int, float, str, bytes})


class _Pairs(list[tuple[object, object]]):
    """A map of msgpack, not made a dict yet: its keys were chosen by somebody else."""


def load(file: bytes | bytearray | memoryview, *, limits: Limits = DEFAULT_LIMITS) -> Any:
    """The value in the file; its arrays are views of the file, writable if that is.

    FrameError, a ValueError, for anything that is no FOBS file of known types.
    """
    sections = split(memoryview(file).cast("B"))
    try:
        check_counts(sections.main, limits)
        raw = msgpack.unpackb(
            sections.main,
            strict_map_key=False,
            object_pairs_hook=_Pairs,
            max_ext_len=0,
        )
    except FrameError:
        raise
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise FrameError(f"the main section is no msgpack: {reason}") from error
    return _Loader(sections, limits).value(raw, 0)


class _Loader:
    """One walk over what msgpack made."""

    def __init__(self, sections: Sections, limits: Limits) -> None:
        self._sections = sections
        self._limits = limits
        self._values = 0

    def value(self, raw: object, depth: int) -> Any:
        self._values += 1
        if self._values > self._limits.items:
            raise FrameError(f"the value has more than {self._limits.items} parts")
        if type(raw) in _ATOMS:
            return raw
        if depth >= self._limits.depth:
            raise FrameError(f"the value nests deeper than {self._limits.depth} levels")
        if isinstance(raw, _Pairs):
            return self._map(raw, depth)
        if isinstance(raw, list):
            return [self.value(item, depth + 1) for item in raw]
        raise FrameError(f"the value has a {type(raw).__name__}, which has no place here")

    def _map(self, raw: _Pairs, depth: int) -> Any:
        if any(key == names.TYPE for key, _ in raw):
            return self._named(raw, depth)
        return self._dict(raw, depth)

    def _dict(self, raw: _Pairs, depth: int) -> dict[Any, Any]:
        keys = [key for key, _ in raw]
        if not all(type(key) in _ATOMS for key in keys):
            raise FrameError("a dict has a key that is neither text nor number")
        check_hashes(keys, "dict", "key")
        return {key: self.value(item, depth + 1) for key, item in raw}

    def _named(self, raw: _Pairs, depth: int) -> Any:
        parts = [item for key, item in raw if key == names.DATA]
        kinds = [item for key, item in raw if key == names.TYPE]
        if len(kinds) != 1 or not isinstance(kinds[0], str) or len(parts) != 1:
            raise FrameError("a named value has no name, or not one part of data")
        kind, data = kinds[0], parts[0]
        build = _BUILDS.get(kind)
        if build is None:
            raise FrameError(f"a value is of type {kind[:200]!r}, which is not known here")
        try:
            return build(self, data, depth + 1)
        except FrameError:
            raise
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise FrameError(f"a value of type {kind} cannot be made: {error}") from error

    def sequence(self, raw: object, depth: int) -> list[Any]:
        found = self.value(raw, depth)
        if not isinstance(found, list):
            raise FrameError(f"a {type(found).__name__} stands where a list must stand")
        return found

    def entries(self, raw: object, depth: int) -> dict[Any, Any]:
        found = self.value(raw, depth)
        if type(found) is not dict:
            raise FrameError(f"a {type(found).__name__} stands where a dict must stand")
        return found

    def datum(self, raw: object, depth: int) -> Any:
        """The value of a datum, to which one value refers: many copies of one are a small file."""
        said = self.entries(raw, depth).get("data")
        name = said.get("datum_id") if isinstance(said, dict) else None
        if not isinstance(name, str) or name not in self._sections.datums:
            raise FrameError(
                f"a value lies in the datum {name!r:.100}, which is not there, or is another's"
            )
        found = self._sections.datums.pop(name)
        return found if isinstance(found, str) else _Bytes(found)


class _Bytes:
    """The bytes of a datum, not copied: they may be an array."""

    def __init__(self, view: memoryview) -> None:
        self.view = view


def _datum(loader: _Loader, raw: object, depth: int) -> Any:
    found = loader.datum(raw, depth)
    return bytes(found.view) if isinstance(found, _Bytes) else found


def _array(loader: _Loader, raw: object, depth: int) -> np.ndarray[Any, Any]:
    parts = dict(raw) if isinstance(raw, _Pairs) and len(raw) == 2 else {}
    if parts.get("type") != "native":
        raise FrameError("an array is not in the file, but to be fetched from elsewhere")
    content: object = parts.get("data")
    if isinstance(content, _Pairs):
        if not any(item == names.DATUM_REF for key, item in content if key == names.TYPE):
            raise FrameError("an array lies in something that is no datum")
        content = loader.datum(next((i for k, i in content if k == names.DATA), None), depth)
    if isinstance(content, _Bytes):
        return read_npy(content.view)
    if isinstance(content, bytes):
        return read_npy(memoryview(bytearray(content)))
    raise FrameError(f"an array lies in a {type(content).__name__}, not in bytes")


def _ordered(loader: _Loader, raw: object, depth: int) -> OrderedDict[Any, Any]:
    pairs = loader.sequence(raw, depth)
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise FrameError("an ordered dict is no list of pairs")
    check_hashes([key for key, _ in pairs], "dict", "key")
    return OrderedDict((key, item) for key, item in pairs)


def _shareable(loader: _Loader, raw: object, depth: int) -> Shareable:
    entries = loader.entries(raw, depth)
    if not isinstance(entries.get(ReservedHeaderKey.HEADERS), dict | None):
        raise FrameError("a Shareable has headers that are no dict")
    made = Shareable()
    made.clear()
    made.update(entries)
    return made


def _dxo(loader: _Loader, raw: object, depth: int) -> DXO:
    parts = loader.value(raw, depth)
    if not isinstance(parts, tuple | list) or len(parts) != 3:
        raise FrameError("a DXO is not kind, meta and data")
    kind, meta, data = parts
    return DXO(kind, data, meta)


def _set(loader: _Loader, raw: object, depth: int) -> set[Any]:
    found = loader.sequence(raw, depth)
    check_hashes(found, "set", "member")
    return set(found)


def _enum(name: str) -> Callable[[_Loader, object, int], object]:
    return lambda _loader, raw, _depth: names.ENUMS[name][_text(raw)]


def _scalar(name: str) -> Callable[[_Loader, object, int], object]:
    def make(_loader: _Loader, raw: object, _depth: int) -> object:
        if type(raw) not in (int, float, bool):
            raise FrameError(f"a {name} is made of a {type(raw).__name__}")
        return names.SCALARS[name](raw)

    return make


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise FrameError(f"a {type(raw).__name__} stands where text must stand")
    return raw


_BUILDS: Final[dict[str, Callable[[_Loader, object, int], object]]] = {
    "tuple": lambda loader, raw, depth: tuple(loader.sequence(raw, depth)),
    "set": _set,
    "collections.OrderedDict": _ordered,
    "datetime.datetime": lambda _loader, raw, _depth: datetime.fromisoformat(_text(raw)),
    "nvflare.apis.shareable.Shareable": _shareable,
    "nvflare.apis.dxo.DXO": _dxo,
    names.NDARRAY: _array,
    names.DATUM_REF: _datum,
    **{name: _enum(name) for name in names.ENUMS},
    **{name: _scalar(name) for name in names.SCALARS},
}
