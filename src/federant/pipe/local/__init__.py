"""LocalPipe: agent and client job on one host, by a Unix-domain socket and the spool."""

from federant.pipe.local.pipe import LocalPipe

__all__ = ["LocalPipe"]
