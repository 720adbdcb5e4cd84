"""The extension codes of a frame's envelope: what msgpack has no type for, one number each.

A code is never given a second meaning. Those of the first group carry a tensor's name, those of
the second the value itself, those of the third mark what the list that begins with them is. With
those called typed the name of a dtype that safetensors lacks, and a zero byte, stand before the
tensor's name.
"""

from __future__ import annotations

TENSOR = 1
TEXT_TENSOR = 2
BYTES_TENSOR = 3
BYTEARRAY_TENSOR = 4
BIG_ENDIAN_TENSOR = 5
TYPED_TENSOR = 6
TORCH_TENSOR = 7
TYPED_TORCH_TENSOR = 8
JAX_ARRAY = 9
TYPED_JAX_ARRAY = 10
NUMPY_STR_TENSOR = 11
NUMPY_BYTES_TENSOR = 12

BIG_INT = 32
ENUM = 33
NUMPY_SCALAR = 34
BYTEARRAY = 35
COMPLEX = 36
DATETIME = 37
DATE = 38
TIME = 39
TIMEDELTA = 40
NUMPY_STR = 41
NUMPY_BYTES = 42

TUPLE = 64
PAIRS = 65
SHAREABLE = 66
DXO = 67
SET = 68
FROZENSET = 69
RECORDS = 70
RECARRAY = 71
RECORD = 72
