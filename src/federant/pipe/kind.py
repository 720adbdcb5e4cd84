"""PipeKind: the pipes that a site's file and a trainer's join file can name."""

from enum import StrEnum


class PipeKind(StrEnum):
    """What connects a trainer with its client job."""

    LOCAL = "local"
    """LocalPipe: they are on one host."""
    FILE = "file"
    """FilePipe: they share a folder."""
    CELL = "cell"
    """CellPipe: the trainer is on another machine, and both can dial a relay."""
    NVFLARE_FILE = "nvflare-file"
    """FilePipe in the layout of nvflare, for an end that runs that."""
