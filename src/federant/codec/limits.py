"""How much a frame may ask of its reader; nothing here knows how a frame is laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that hold before anything is allocated for what a frame claims.

    Tensor bytes need no bound: they lie in the frame already, and arrays are views of them.
    """

    header_bytes: int = 24 * 1024 * 1024
    """Length of the header, which also holds all values that are no tensors. As many tensors as
    may be, with names of 75 characters, fit in."""
    depth: int = 64
    """How deep dicts, lists and tuples may nest."""
    items: int = 300_000
    """How many values a body may hold, each key, number, text, dict, list, ... counted."""
    tensors: int = 65_536
    """How many tensors a frame may hold."""


DEFAULT_LIMITS = Limits()

MAX_RECORD_BYTES: Final = 999_999_999
"""The largest record of named fields: what a void may have as well."""

MAX_RECORD_DEPTH: Final = 16
"""How deep records may nest in each other."""

MAX_RECORD_DIMENSIONS: Final = 32
"""How many dimensions a field of a record may have, what every numpy takes; as for how many
fields there may be, each of their parts counts as one of a body's values."""
