"""FQCN: what a cell is called in its federation; who may use a name is not decided here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from federant.pipe import Mode

_LABEL: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_FQCN: Final = re.compile(rf"({_LABEL})\.({_LABEL})\.(agent|job)")


class End(StrEnum):
    """Which end of a pipe a cell serves, as its name says it."""

    AGENT = "agent"
    JOB = "job"

    @property
    def opposite(self) -> End:
        return End.JOB if self is End.AGENT else End.AGENT

    @classmethod
    def of(cls, mode: Mode) -> End:
        return cls.AGENT if mode is Mode.ACTIVE else cls.JOB


@dataclass(frozen=True, slots=True)
class Fqcn:
    """``site-1.gpu-7.agent``: the cell of agent gpu-7 of site-1; ``.job`` is its client job's.

    ValueError for a label that is no name: a letter or digit, then up to 63 of those, '-' or '_'.
    """

    site: str
    agent_id: str
    end: End

    def __post_init__(self) -> None:
        if not _FQCN.fullmatch(str(self)):
            raise ValueError(
                f"{str(self)[:200]!r} cannot be a cell's name: site and agent id are each a letter "
                "or digit, then up to 63 letters, digits, '-' or '_'"
            )

    @classmethod
    def parse(cls, text: str) -> Fqcn:
        """The name that ``str`` wrote; ValueError for any other text."""
        found = _FQCN.fullmatch(text)
        if found is None:
            raise ValueError(f"{text[:200]!r} is no cell's name, as site-1.gpu-7.agent is")
        return cls(found[1], found[2], End(found[3]))

    @property
    def opposite(self) -> Fqcn:
        """The name of the cell at the other end."""
        return Fqcn(self.site, self.agent_id, self.end.opposite)

    def __str__(self) -> str:
        return f"{self.site}.{self.agent_id}.{self.end}"
