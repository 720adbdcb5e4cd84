"""The extension codes of a frame's envelope: what msgpack has no type for, one number each.

A code is never given a second meaning. Those of the first group carry a tensor's name, those of
the second the value itself, those of the third mark what the list that begins with them is.
"""

from __future__ import annotations

TENSOR = 1
TEXT_TENSOR = 2
BYTES_TENSOR = 3
BYTEARRAY_TENSOR = 4

BIG_INT = 32
ENUM = 33
NUMPY_SCALAR = 34
BYTEARRAY = 35

TUPLE = 64
PAIRS = 65
SHAREABLE = 66
DXO = 67
