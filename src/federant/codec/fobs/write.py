"""Values become a FOBS file: msgpack, and a section of its own for each large array or text."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Any, Final

import msgpack
import numpy as np

from federant.codec.fobs import names
from federant.codec.fobs.npy import npy_header
from federant.codec.fobs.sections import HEADER, Marker
from federant.codec.limits import DEFAULT_LIMITS, Limits
from federant.exchange import DXO, Shareable

LARGE_BYTES: Final = 64 * 1024
"""From here on a value has a section of its own. The model system's own writer does it from 10 MiB
on; its reader takes any."""

_INTS: Final = range(-(1 << 63), 1 << 64)


def dump(value: object, *, limits: Limits = DEFAULT_LIMITS) -> Iterator[memoryview]:
    """The file in pieces; large arrays are views of the value's own memory, where they can be.

    TypeError, with the path to the value, for what FOBS has no type for.
    """
    writer = _Writer(limits)
    main: bytes = msgpack.packb(writer.value(value, "", 0), strict_types=True)
    return writer.pieces(main)


class _Writer:
    """One walk over a value; large ones are put aside as datums."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._datums: list[tuple[Marker, uuid.UUID, list[memoryview]]] = []

    def pieces(self, main: bytes) -> Iterator[memoryview]:
        yield memoryview(HEADER.pack(Marker.MAIN, 0, len(main)))
        yield memoryview(main)
        for marker, name, parts in self._datums:
            size = 16 + sum(part.nbytes for part in parts)
            yield memoryview(HEADER.pack(marker, 0, size) + name.bytes)
            yield from parts

    def value(self, value: Any, path: str, depth: int) -> Any:
        if depth >= self._limits.depth:
            raise TypeError(f"{path or 'the value'} nests deeper than {self._limits.depth} levels")
        kind = type(value)
        if value is None or kind in (bool, float):
            return value
        if kind is int:
            if value not in _INTS:
                raise TypeError(f"{path or 'the value'} is an int of more than 64 bits")
            return value
        if kind in (str, bytes):
            return self._bulk(value)
        if isinstance(value, bytearray | memoryview):
            return self._bulk(bytes(value))
        if isinstance(value, np.ndarray):
            return self._array(value, path)
        if isinstance(value, Enum | np.generic):
            return self._leaf(value, path)
        return self._container(value, path, depth)

    def _container(self, value: Any, path: str, depth: int) -> Any:
        below = depth + 1
        if isinstance(value, DXO):
            parts = (value.data_kind, value.meta, value.data)
            return _named(DXO, self.value(parts, path, below))
        if isinstance(value, OrderedDict):
            return _named(OrderedDict, self.value(list(value.items()), path, below))
        if isinstance(value, dict):
            entries = {
                self._key(key, path): self.value(item, f"{path}[{key!r}]", below)
                for key, item in value.items()
            }
            return _named(Shareable, entries) if isinstance(value, Shareable) else entries
        if isinstance(value, list | tuple | set | frozenset):
            items = [
                self.value(item, f"{path}[{index}]", below) for index, item in enumerate(value)
            ]
            if isinstance(value, list):
                return items
            return _named(tuple if isinstance(value, tuple) else set, items)
        if isinstance(value, datetime):
            return _named(datetime, value.isoformat())
        if isinstance(value, str):
            return self._bulk(str(value))
        raise TypeError(
            f"{path or 'the value'} is of type {type(value).__name__}, for which the model "
            "system's file layout has no type; send numpy arrays and plain values"
        )

    def _key(self, key: object, path: str) -> object:
        if (
            key is None
            or type(key) in (bool, float, bytes, str)
            or (type(key) is int and key in _INTS)
        ):
            return key
        if isinstance(key, str):
            return str(key)
        raise TypeError(f"{path or 'the value'} has the key {key!r:.100}, which cannot travel")

    def _leaf(self, value: Enum | np.generic, path: str) -> Any:
        if type(value) in names.NAMES:
            return _named(type(value), value.name if isinstance(value, Enum) else value.item())
        if isinstance(value, str):  # a member of another enum, or numpy's text: its text
            return self._bulk(str(value.value if isinstance(value, Enum) else value))
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, np.generic | Enum):
            raise TypeError(f"{path or 'the value'} is of type {type(value).__name__}: not in FOBS")
        return self.value(plain, path, 0)

    def _array(self, array: np.ndarray[Any, Any], path: str) -> Any:
        # Others (bfloat16, say) are written as bytes without a meaning.
        if array.dtype.hasobject or array.dtype.kind not in "biufcSUmM":
            raise TypeError(
                f"{path or 'the value'} is an array of dtype {array.dtype}, which a .npy file "
                "cannot hold; convert it first"
            )
        plain = np.asarray(array)
        if not plain.flags.f_contiguous:
            plain = np.ascontiguousarray(plain).reshape(plain.shape)
        head = npy_header(plain)
        flat = plain.reshape(-1, order="F" if _is_fortran(plain) else "C")
        parts = [memoryview(head)]
        if flat.nbytes:
            parts.append(flat.view(np.uint8).data)
        if flat.nbytes < LARGE_BYTES:
            content: object = b"".join(parts)
        else:
            content = self._put_aside(Marker.BLOB, parts)
        return _named(np.ndarray, {"type": "native", "data": content})

    def _bulk(self, value: str | bytes) -> Any:
        if len(value) < LARGE_BYTES:
            return value
        if isinstance(value, str):
            return self._put_aside(Marker.TEXT, [memoryview(value.encode())])
        return self._put_aside(Marker.BLOB, [memoryview(value)])

    def _put_aside(self, marker: Marker, parts: list[memoryview]) -> Any:
        name = uuid.uuid4()
        self._datums.append((marker, name, parts))
        return {
            names.TYPE: names.DATUM_REF,
            names.DATA: {"data": {"datum_id": str(name), "unwrap": True}},
            names.DECOMPOSER: names.DATUM_REF_DECOMPOSER,
        }


def _is_fortran(array: np.ndarray[Any, Any]) -> bool:
    return bool(array.flags.f_contiguous and not array.flags.c_contiguous)


def _named(cls: type, data: object) -> dict[str, object]:
    name, decomposer = names.NAMES[cls]
    return {names.TYPE: name, names.DATA: data, names.DECOMPOSER: decomposer}
