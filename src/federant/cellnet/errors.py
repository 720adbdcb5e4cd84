"""The errors of cells, as a tree.

CellError
├── CellProtocolError   the other side says what the protocol does not have
├── CellRefused         the relay does not let this cell in; ``code`` says why
├── NoRelayError        what answers at the address is no relay
└── SealBrokenError     the relay has passed on what the other cell has not sent
    └── RevokedError    the certificate of one of the two cells was revoked
"""

from __future__ import annotations

from typing import Final

from federant.cellnet.words import Refusal

_LONGEST: Final = 2000


def shown(text: str) -> str:
    """The text as it may stand in a log, whoever wrote it: in one line, and not of any length."""
    plain = "".join(
        each if each.isprintable() else repr(each)[1:-1] for each in text[: _LONGEST + 1]
    )
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 3]}..."


class CellError(Exception):
    """Whatever goes wrong between cells. Others' words may be in its text, so that is `shown`."""

    def __init__(self, text: str) -> None:
        super().__init__(shown(text))


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


class RevokedError(SealBrokenError):
    """The agent's certificate was revoked; both ends hear it, under their seal."""
