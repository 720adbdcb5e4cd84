"""CellPipe: agent and client job on two machines, each with a cell process beside it."""

from federant.pipe.cell.pipe import CellPipe

__all__ = ["CellPipe"]
