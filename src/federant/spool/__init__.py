"""Frames on one host: folders of recycled, mapped files; who is told of them is the pipe's."""

from federant.spool.errors import (
    SpoolClosedError,
    SpoolDiskFullError,
    SpoolError,
    SpoolFileError,
    SpoolFullError,
    SpoolLimitError,
)
from federant.spool.folder import reclaim
from federant.spool.reader import FreedFile, SpoolReader
from federant.spool.writer import SpoolFile, SpoolWriter

__all__ = [
    "FreedFile",
    "SpoolClosedError",
    "SpoolDiskFullError",
    "SpoolError",
    "SpoolFile",
    "SpoolFileError",
    "SpoolFullError",
    "SpoolLimitError",
    "SpoolReader",
    "SpoolWriter",
    "reclaim",
]
