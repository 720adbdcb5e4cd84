"""Bodies (Shareable, DXO, plain values) to frames and back; a frame is a safetensors file.

No input or output lives here, and no knowledge of what a message or a task is.
"""

from federant.codec.decode import Decoded, Layout, decode, read_layout, read_tensors
from federant.codec.errors import FrameError
from federant.codec.for_exchange import FrameCodec
from federant.codec.frame import Frame, encode
from federant.codec.kinds import is_framework_array
from federant.codec.kinds.jax_arrays import JaxArray
from federant.codec.kinds.torch_tensors import TorchArray
from federant.codec.layout import LENGTH_BYTES, TensorSpan, header_size
from federant.codec.limits import DEFAULT_LIMITS, Limits
from federant.exchange.serialization import install

install(FrameCodec())

__all__ = [
    "DEFAULT_LIMITS",
    "LENGTH_BYTES",
    "Decoded",
    "Frame",
    "FrameError",
    "JaxArray",
    "Layout",
    "Limits",
    "TensorSpan",
    "TorchArray",
    "decode",
    "encode",
    "header_size",
    "is_framework_array",
    "read_layout",
    "read_tensors",
]
