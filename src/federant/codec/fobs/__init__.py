"""The model system's own file format, FOBS, to values and back; no input or output lives here.

A file is a sequence of sections; the first is msgpack, in which all that msgpack lacks stands as a
map that names its type. Facts of the format: nvflare 2.7.3, `nvflare/fuel/utils/fobs`.
"""

from federant.codec.fobs.read import load
from federant.codec.fobs.write import dump

__all__ = ["dump", "load"]
