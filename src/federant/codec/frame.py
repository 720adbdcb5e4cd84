"""The sender's half of the codec: a body becomes a frame. Where the bytes go is the caller's."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import msgpack
import numpy as np

from federant.codec import kinds
from federant.codec.errors import FrameError
from federant.codec.layout import LENGTH_BYTES, Tensor, TensorSpan, plan_header
from federant.codec.limits import DEFAULT_LIMITS, Limits
from federant.codec.writer import Part, Writer

METADATA_KEY = "federant"
"""Where the envelope lies in the safetensors metadata."""

FRAME_VERSION = 1
"""The version of the envelope: a list of this number, the caller's entries and the body."""

_ENVELOPE = Part("envelope")


class Frame:
    """A planned frame: its header is made, its tensors are still where the sender has them.

    Do not write to the arrays of the body before the frame is written out.
    """

    __slots__ = ("_written", "header", "size", "tensors")

    def __init__(self, header: bytes, spans: list[TensorSpan], tensors: dict[str, Tensor]) -> None:
        self.header = header
        """The length and the header, up to the first tensor."""
        self.tensors = tuple(spans)
        """Where each tensor will lie, in that order."""
        self.size = spans[-1].stop if spans else len(header)
        """The whole frame's length in bytes."""
        self._written = tensors

    def write_into(self, target: memoryview | bytearray) -> None:
        """Write the frame into a writable buffer of exactly `size` bytes; each array copied once.

        ValueError if the buffer has another size or is read-only.
        """
        whole = np.frombuffer(target, np.uint8)
        if whole.nbytes != self.size:
            raise ValueError(f"the frame takes {self.size} bytes, the target has {whole.nbytes}")
        whole[: len(self.header)] = np.frombuffer(self.header, np.uint8)
        for span in self.tensors:
            tensor = self._written[span.name]
            place: np.ndarray[Any, Any] = np.ndarray(
                tensor.array.shape, tensor.written, buffer=whole, offset=span.start
            )
            place[...] = tensor.array

    def chunks(self) -> Iterator[memoryview]:
        """The frame in pieces: the header, then each tensor's bytes.

        The pieces are views of the body's arrays; only one that is not contiguous or not
        little-endian is copied first.
        """
        yield memoryview(self.header)
        for span in self.tensors:
            if span.nbytes:
                tensor = self._written[span.name]
                array = np.ascontiguousarray(tensor.array, tensor.written)
                yield array.reshape(-1).view(np.uint8).data

    def to_bytes(self) -> bytes:
        """The whole frame as one object."""
        return b"".join(self.chunks())


def encode(
    body: object,
    *,
    envelope: Mapping[str, object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Frame:
    """Plan the frame of a body; no tensor in the memory of the processor is copied yet.

    `envelope` holds small values that a receiver reads from the header alone. TypeError, with the
    path to the value (`data['layer1'][3]`), for what cannot travel or is beyond the limits.
    """
    writer = Writer(
        limits,
        kinds.WRITES,
        kinds.find_write,
        next(
            (path for base, path in kinds.DROPPED_FROM_NAMES.items() if isinstance(body, base)), ()
        ),
    )
    entries = writer.inlined(_ENVELOPE, dict(envelope or {}))
    if writer.tensors:
        raise TypeError("arrays cannot travel in a frame's envelope; put them into the body")
    packed = msgpack.packb(
        [FRAME_VERSION, entries, writer.value(body)], strict_types=True, default=kinds.pack_other
    )
    metadata = {METADATA_KEY: b64encode(packed).decode("ascii")}
    try:
        header, spans = plan_header(writer.tensors, metadata, limits)
    except FrameError as error:
        raise TypeError(
            f"the body cannot travel: {error}; give its arrays names without punctuation"
        ) from error
    if len(header) - LENGTH_BYTES > limits.header_bytes:
        raise TypeError(
            f"the body cannot travel: its values that are no arrays take {len(header)} bytes, "
            f"at most {limits.header_bytes} are taken; put large collections of numbers into "
            "numpy arrays"
        )
    return Frame(header, spans, writer.tensors)
