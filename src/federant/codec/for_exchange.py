"""What `to_bytes`, `from_bytes` and the like of the exchange use: a whole frame, one body."""

from __future__ import annotations

from collections.abc import Iterable

from federant.codec.decode import decode
from federant.codec.frame import encode


class FrameCodec:
    """The exchange's Codec, with frames."""

    def dumps(self, body: object) -> bytes:
        return encode(body).to_bytes()

    def chunks(self, body: object) -> Iterable[memoryview]:
        return encode(body).chunks()

    def loads(self, data: bytes | bytearray | memoryview) -> object:
        return decode(bytearray(data) if memoryview(data).readonly else data).body
