"""FilePipe: agent and client job with nothing between them but a folder that both can write to."""

from federant.pipe.file.pipe import FilePipe

__all__ = ["FilePipe"]
