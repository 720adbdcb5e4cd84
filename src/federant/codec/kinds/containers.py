"""dict, list, tuple, Shareable and DXO."""

from __future__ import annotations

from typing import Any

from msgpack import ExtType

from federant.codec.errors import FrameError
from federant.codec.kinds import codes
from federant.codec.kinds.hashing import check_hashes, comparing
from federant.codec.reader import Reader
from federant.codec.writer import ATOMS, Part, Writer, key_text
from federant.exchange import DXO, ReservedHeaderKey, Shareable
from federant.exchange.dxo import CONTENT_TYPE

_TUPLE = ExtType(codes.TUPLE, b"")
_PAIRS = ExtType(codes.PAIRS, b"")
_SHAREABLE = ExtType(codes.SHAREABLE, b"")
_DXO = ExtType(codes.DXO, b"")

_KIND, _DATA, _META = Part("kind"), Part("data"), Part("meta")
_HEADERS, _CONTENT = Part("headers"), Part(CONTENT_TYPE)

DROPPED_FROM_NAMES: dict[type, tuple[str, ...]] = {
    Shareable: (_CONTENT, _DATA),
    DXO: (_DATA,),
}
"""By the body's type, the beginning of a path that tensor names leave out: a model's tensors
carry the model's own names."""


def write_dict(writer: Writer, value: dict[Any, Any]) -> object:
    if not all(_is_plain_key(writer, key) for key in value):
        return _write_pairs(writer, value)
    writer.enter(2 * len(value))
    at = writer.at
    return {key: at(key, item) for key, item in value.items()}


def write_list(writer: Writer, value: list[Any]) -> object:
    writer.enter(len(value))
    if ATOMS.issuperset(map(type, value)):
        return value
    at = writer.at
    return [at(index, item) for index, item in enumerate(value)]


def write_tuple(writer: Writer, value: tuple[Any, ...]) -> object:
    writer.enter(1 + len(value))
    at = writer.at
    return [_TUPLE, *[at(index, item) for index, item in enumerate(value)]]


def write_shareable(writer: Writer, value: Shareable) -> object:
    writer.enter(2 + 2 * len(value))  # a marked list round a dict
    written = {}
    for key, item in value.items():
        if not _is_plain_key(writer, key):
            raise writer.refusal(f"a Shareable's keys are strings, one is {key_text(key)}")
        if key == ReservedHeaderKey.HEADERS:
            if not isinstance(item, dict | None):
                raise writer.refusal(f"its headers must be a dict, they are {type(item).__name__}")
            written[key] = writer.inlined(_HEADERS, item)
        elif key == CONTENT_TYPE and type(item) is dict:
            written[key] = _write_content(writer, item)
        else:
            written[key] = writer.at(key, item)
    return [_SHAREABLE, written]


def write_dxo(writer: Writer, value: DXO) -> object:
    error = value.validate()
    if error:
        raise writer.refusal(f"it is an invalid DXO: {error}")
    writer.enter(4)
    return [
        _DXO,
        writer.inlined(_KIND, value.data_kind),
        writer.at(_DATA, value.data),
        writer.at(_META, value.meta),
    ]


def read_tuple(reader: Reader, rest: list[Any], depth: int) -> tuple[Any, ...]:
    return tuple(reader.sequence(rest, depth))


def read_pairs(reader: Reader, rest: list[Any], depth: int) -> dict[Any, Any]:
    if len(rest) % 2:
        raise FrameError("the envelope has a dict with a key that lacks its value")
    flat = reader.sequence(rest, depth)
    keys = flat[::2]
    check_hashes(keys, "dict", "key")
    with comparing("dict", "key"):
        return dict(zip(keys, flat[1::2], strict=True))


def read_shareable(reader: Reader, rest: list[Any], depth: int) -> Shareable:
    if len(rest) != 1:
        raise FrameError(f"a Shareable has one part in the envelope, this one has {len(rest)}")
    entries = reader.mapping(rest[0], depth)
    if not isinstance(entries.get(ReservedHeaderKey.HEADERS), dict | None):
        raise FrameError("the envelope has a Shareable whose headers are no dict")
    shareable = Shareable()
    shareable.clear()  # its own headers would come first
    shareable.update(entries)
    return shareable


def read_dxo(reader: Reader, rest: list[Any], depth: int) -> DXO:
    if len(rest) != 3:
        raise FrameError(f"a DXO has three parts in the envelope, this one has {len(rest)}")
    kind, data, meta = rest
    try:
        return DXO(kind, reader.value(data, depth + 1), reader.value(meta, depth + 1))
    except ValueError as error:
        raise FrameError(f"the envelope has no valid DXO: {error}") from error


def _write_content(writer: Writer, parts: dict[Any, Any]) -> object:
    """A DXO's parts inside a Shareable, under the path that the DXO itself would give them."""
    if not all(type(key) is str for key in parts):
        return writer.at(_CONTENT, parts)
    writer.path.append(_CONTENT)
    writer.enter(2 * len(parts))
    written = {key: writer.at(Part(key), item) for key, item in parts.items()}
    writer.path.pop()
    return written


def _write_pairs(writer: Writer, value: dict[Any, Any]) -> object:
    writer.enter(1 + 2 * len(value))
    pairs: list[object] = [_PAIRS]
    for key, item in value.items():
        pairs.append(writer.inlined(key, key))
        pairs.append(writer.at(key, item))
    return pairs


def _is_plain_key(writer: Writer, key: Any) -> bool:
    """Whether the reader takes this as a key of msgpack's own map; else the dict goes in pairs."""
    kind = type(key)
    if kind is str and not key.isascii():
        writer.inlined(key, key)  # refuses what is no text, here where its place is known
    return kind is str or kind is bytes
