"""Shareable, the dict with headers that travels between server, site and trainer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any, Self, TypeVar

from federant.exchange.names import ReservedHeaderKey, ReturnCode
from federant.exchange.serialization import installed

S = TypeVar("S", bound="Shareable")


class Shareable(dict[str, Any]):
    """A dict whose entry `__headers__` holds the headers and whose other entries are the body.

    `Shareable(data)` copies the top level of `data` and starts with empty headers. Not
    thread-safe: one owner at a time.
    """

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data or {})
        self[ReservedHeaderKey.HEADERS] = {}

    def set_header(self, key: str, value: Any) -> None:
        """Set a header; TypeError if the entry `__headers__` has been replaced by no dict."""
        headers = self.get(ReservedHeaderKey.HEADERS)
        if headers is None:
            headers = self[ReservedHeaderKey.HEADERS] = {}
        if not isinstance(headers, dict):
            raise TypeError(_headers_are(headers))
        headers[key] = value

    def get_header(self, key: str, default: Any = None) -> Any:
        """The header, or `default`; ValueError if `__headers__` has been replaced by no dict."""
        headers = self.get(ReservedHeaderKey.HEADERS)
        if headers is None:
            return default
        if not isinstance(headers, dict):
            raise ValueError(_headers_are(headers))
        return headers.get(key, default)

    def get_return_code(self, default: str = ReturnCode.OK) -> Any:
        """The return code; one that was never set means `default`."""
        return self.get_header(ReservedHeaderKey.RC, default)

    def set_return_code(self, rc: str) -> None:
        self.set_header(ReservedHeaderKey.RC, rc)

    def add_cookie(self, name: str, data: Any) -> None:
        """Put a named value into the cookie jar, which is made on first use."""
        jar = self.get_cookie_jar()
        if not jar:
            jar = {}
            self.set_cookie_jar(jar)
        jar[name] = data

    def get_cookie_jar(self) -> Any:
        """The dict of cookies, or None if there is none."""
        return self.get_header(ReservedHeaderKey.COOKIE_JAR)

    def set_cookie_jar(self, jar: Mapping[str, Any]) -> None:
        self.set_header(ReservedHeaderKey.COOKIE_JAR, jar)

    def get_cookie(self, name: str, default: Any = None) -> Any:
        jar = self.get_cookie_jar()
        return jar.get(name, default) if jar else default

    def set_peer_props(self, props: Mapping[str, Any]) -> None:
        self.set_header(ReservedHeaderKey.PEER_PROPS, props)

    def get_peer_props(self) -> Any:
        return self.get_header(ReservedHeaderKey.PEER_PROPS)

    def get_peer_prop(self, key: str, default: Any = None) -> Any:
        props = self.get_peer_props()
        return props.get(key, default) if props else default

    def set_peer_context(self, peer_ctx: Any) -> None:
        self.set_header(ReservedHeaderKey.PEER_CTX, peer_ctx)

    def get_peer_context(self) -> Any:
        return self.get_header(ReservedHeaderKey.PEER_CTX)

    def to_bytes(self) -> bytes:
        """This Shareable as one frame; TypeError naming the path to what cannot travel."""
        return installed().dumps(self)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Self:
        """The Shareable in a frame.

        Its arrays can be written to: they are views of `data`, or of a copy if that is read-only.
        ValueError if the bytes are no frame or hold something other than a Shareable.
        """
        found = installed().loads(data)
        if not isinstance(found, cls):
            raise ValueError(
                f"these bytes hold a {type(found).__name__}, not a {cls.__name__}; "
                "read them with the from_bytes of that type"
            )
        return found


def make_reply(rc: str, headers: dict[str, Any] | None = None) -> Shareable:
    """A Shareable that carries only a return code and, if given as a dict, headers."""
    reply = Shareable()
    if isinstance(headers, dict):
        for key, value in headers.items():
            reply.set_header(key, value)
    reply.set_return_code(rc)
    return reply


def make_copy(source: S, exclude_headers: Collection[str] | None = None) -> S:
    """A Shareable of the same class: the same body objects, deep copies of the headers.

    Headers named in `exclude_headers` are left out. TypeError if `source` is no Shareable.
    """
    if not isinstance(source, Shareable):
        raise TypeError(f"source must be a Shareable, got {type(source).__name__}")
    left_out = exclude_headers or ()
    headers = source.get(ReservedHeaderKey.HEADERS) or {}
    copied = source.__class__()
    copied.update(source)
    copied[ReservedHeaderKey.HEADERS] = {
        key: deepcopy(value) for key, value in headers.items() if key not in left_out
    }
    return copied


def _headers_are(found: object) -> str:
    return (
        f"the entry {ReservedHeaderKey.HEADERS!r} of a Shareable must be a dict, "
        f"it is {type(found).__name__}; set headers with set_header"
    )
