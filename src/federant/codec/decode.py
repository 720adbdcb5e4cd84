"""The receiver's half of the codec: a frame becomes a body again, or FrameError."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from federant.codec import kinds
from federant.codec.errors import FrameError
from federant.codec.frame import FRAME_VERSION, METADATA_KEY
from federant.codec.kinds import codes
from federant.codec.kinds.values import CHECKED_KINDS, check
from federant.codec.layout import TensorSpan, of_own_dtype, parse_header
from federant.codec.limits import DEFAULT_LIMITS, Limits
from federant.codec.reader import Reader, Reference

_MAPS = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
_ARRAYS = frozenset({*range(0x90, 0xA0), 0xDC, 0xDD})
"""The bytes with which msgpack's containers begin."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a frame holds."""

    envelope: dict[str, Any]
    """The small values that the sender put beside the body."""
    body: Any
    """The body; its arrays are views of the frame's buffer and keep that alive."""


class Layout:
    """A frame's header, read and checked: where each tensor lies, and all that is no tensor."""

    def __init__(
        self,
        header_bytes: int,
        tensors: list[TensorSpan],
        envelope: dict[str, Any],
        raw_body: object,
        limits: Limits,
    ) -> None:
        self.header_size = header_bytes
        """Length of the header in bytes, with its length in front."""
        self.tensors = tuple(tensors)
        """Where each tensor lies, in that order."""
        self.envelope = envelope
        """The small values that the sender put beside the body."""
        self._raw_body = raw_body
        self._limits = limits

    @property
    def size(self) -> int:
        """The whole frame's length in bytes."""
        return self.tensors[-1].stop if self.tensors else self.header_size

    def body(self, tensor: Callable[[TensorSpan], object] | None = None) -> Any:
        """The body with each tensor replaced by its TensorSpan, or by what `tensor` makes of it.

        Also str and bytes of more than 4 KiB that are no headers lie in tensors. FrameError if
        the body and the frame's tensors do not match one to one.
        """
        return self.build(lambda _code, span: tensor(span) if tensor else span)

    def build(self, tensor: Callable[[int, TensorSpan], object]) -> Any:
        """The body, each tensor replaced by what `tensor` makes of its extension code and span."""
        unused = {span.name: span for span in self.tensors}

        def resolve(reference: Reference) -> object:
            span = unused.pop(reference.name, None)
            if span is None:
                raise FrameError(
                    f"the body names a tensor {reference.name!r} that the frame does not have, "
                    "or names it twice"
                )
            if reference.record is not None:
                span = of_own_dtype(span, f"|V{reference.record.itemsize}", reference.record)
            elif reference.dtype:
                span = of_own_dtype(span, reference.dtype)
            return tensor(reference.code, span)

        reader = Reader(self._limits, kinds.BUILDS, kinds.LEAF_TYPES, resolve)
        body = reader.value(self._raw_body, 0)
        if unused:
            raise FrameError(f"the body does not name the frame's tensor {next(iter(unused))!r}")
        return body


def decode(
    buffer: bytes | bytearray | memoryview,
    *,
    limits: Limits = DEFAULT_LIMITS,
    frameworks: bool = True,
) -> Decoded:
    """The envelope and body of the frame that fills `buffer` (bytes, mmap, ...).

    Arrays are views of the buffer, writable if it is, and keep it alive; text and bytes are
    copied, and so are arrays of the other byte order. FrameError, a ValueError, for anything that
    is no valid frame.

    A tensor of torch or array of jax becomes one again if the process has imported that framework,
    else, and always with `frameworks=False`, a TorchArray or JaxArray, which is a numpy array. A
    torch tensor lies in the buffer too, if that is writable; a jax array is a copy.
    """
    view = memoryview(buffer).cast("B")
    layout = read_layout(view, view.nbytes, limits=limits)
    whole = np.frombuffer(view, np.uint8)

    def tensor(code: int, span: TensorSpan) -> object:
        array = _array(whole, span)
        return array if code == codes.TENSOR else kinds.read_tensor(code, array, own=frameworks)

    return Decoded(layout.envelope, layout.build(tensor))


def read_tensors(
    buffer: bytes | bytearray | memoryview, *, limits: Limits = DEFAULT_LIMITS
) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors by name of any safetensors file, also of one that is no frame.

    Arrays are views of the buffer, as those of `decode` are. FrameError if the file is not valid.
    """
    view = memoryview(buffer).cast("B")
    _, spans = parse_header(view, view.nbytes, limits)
    whole = np.frombuffer(view, np.uint8)
    return {span.name: _array(whole, span) for span in spans}


def read_layout(
    head: bytes | bytearray | memoryview, total_size: int, *, limits: Limits = DEFAULT_LIMITS
) -> Layout:
    """The layout of a frame of `total_size` bytes from its first `header_size` bytes or more.

    FrameError if they are no valid header, or one that does not fit the size.
    """
    metadata, tensors = parse_header(head, total_size, limits)
    if METADATA_KEY not in metadata:
        raise FrameError(f"the frame's metadata has no entry {METADATA_KEY!r}")
    try:
        packed = b64decode(metadata[METADATA_KEY], validate=True)
    except (binascii.Error, ValueError) as error:
        raise FrameError(f"the frame's envelope is no base64: {error}") from error
    envelope, raw_body = _unpack(packed, limits)
    header = tensors[0].start if tensors else total_size
    return Layout(header, tensors, envelope, raw_body, limits)


def _array(whole: np.ndarray[Any, Any], span: TensorSpan) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.ndarray(
        span.shape, span.numpy_dtype, buffer=whole, offset=span.start
    )
    if array.dtype.kind in CHECKED_KINDS:
        check(array, span.name)
    return array


def _unpack(packed: bytes, limits: Limits) -> tuple[dict[str, Any], object]:
    """The envelope's entries and the body as msgpack has it, not yet looked into."""
    unpacked = _unpack_msgpack(packed, limits)
    match unpacked:
        case [int(version), *_] if version != FRAME_VERSION:
            raise FrameError(
                f"the frame has version {version}, version {FRAME_VERSION} is known here: "
                "update federant at the older end"
            )
        case [int(_), dict(entries), raw_body]:
            pass
        case _:
            raise FrameError("the envelope is no list of version, entries and body")
    reader = Reader(limits, kinds.BUILDS, kinds.LEAF_TYPES, _no_tensor)
    return reader.mapping(entries, 0), raw_body


def _unpack_msgpack(packed: bytes, limits: Limits) -> object:
    try:
        check_counts(packed, limits)
        return msgpack.unpackb(packed, strict_map_key=True, ext_hook=kinds.read_extension)
    except FrameError:
        raise
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise FrameError(f"the frame's envelope is no msgpack: {reason}") from error


def check_counts(packed: bytes | memoryview, limits: Limits) -> None:
    """Finds counts that the bytes do not back, and too many values, while no object is made."""
    walker = msgpack.Unpacker(max_buffer_size=max(len(packed), 1))
    walker.feed(packed)
    if len(packed) <= limits.items:  # each value takes a byte or more: they need no counting
        walker.skip()
        return
    values = ahead = 1
    while ahead:
        ahead -= 1
        at = walker.tell()
        first = packed[at] if at < len(packed) else 0  # skip says then that there is no more
        if first in _MAPS:
            inside = 2 * walker.read_map_header()
        elif first in _ARRAYS:
            inside = walker.read_array_header()
        else:
            walker.skip()
            continue
        ahead += inside
        values += inside
        if values > limits.items:
            raise FrameError(f"the body has more than {limits.items} values")


def _no_tensor(reference: Reference) -> object:
    raise FrameError(f"the frame's envelope names a tensor {reference.name!r}")
