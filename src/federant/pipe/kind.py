"""PipeKind: the pipes that a site's file and a trainer's join file can name."""

from enum import StrEnum


class PipeKind(StrEnum):
    """What connects a trainer with its client job."""

    LOCAL = "local"
    """LocalPipe: they are on one host."""
    FILE = "file"
    """FilePipe: they share a folder."""
