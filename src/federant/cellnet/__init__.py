"""Pipes between machines: the cell process beside each end, and the relay where the cells meet.

A cell speaks LocalPipe's records with its owner and carries them to the other cell; what they mean
is LocalPipe's business.
"""

from federant.cellnet.errors import CellError, CellProtocolError, CellRefused, NoRelayError
from federant.cellnet.names import Fqcn

__all__ = ["CellError", "CellProtocolError", "CellRefused", "Fqcn", "NoRelayError"]
