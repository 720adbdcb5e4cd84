"""The errors of cells, as a tree.

CellError
├── CellProtocolError   the other side says what the protocol does not have
├── CellRefused         the relay does not let this cell in; ``code`` says why
├── NoRelayError        what answers at the address is no relay
└── SealBrokenError     the relay has passed on what the other cell has not sent
"""

from __future__ import annotations

from federant.cellnet.words import Refusal


class CellError(Exception):
    """Whatever goes wrong between cells."""


class CellProtocolError(CellError):
    """Bytes came that no cell sends."""


class CellRefused(CellError):
    """The relay said no."""

    def __init__(self, code: Refusal, text: str) -> None:
        super().__init__(text)
        self.code = code


class NoRelayError(CellError):
    """Something else than a relay answers there; the text says what."""


class SealBrokenError(CellError):
    """What came through the relay is not what the cell at the other end has sent, or that one is
    not who it must be."""
