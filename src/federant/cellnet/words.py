"""What a cell and its relay say to each other: text messages (JSON), checked as they are read.

Binary messages are between two cells (tunnel); a relay passes them on unread.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import ClassVar, Final, TypeAlias

VERSION: Final = 1
SUBPROTOCOL: Final = f"federant.cell.{VERSION}"
"""By it the two know that they speak with a relay and a cell, before anything is said."""
LONGEST_WORDS: Final = 4096
"""Characters of a text message."""
LONGEST_NAME: Final = 200
"""Characters of any text that a join message holds."""
_END_OF_PIDS: Final = 1 << 31
_END_OF_TIMES: Final = 1 << 36
"""Seconds; long after year 4000."""


class Refusal(StrEnum):
    """Why a relay does not let a cell in."""

    FORBIDDEN = "forbidden"
    """Its certificate is not one that may have this name."""
    BUSY = "busy"
    """Another cell, which lives, has this name."""
    UNANSWERED = "unanswered"
    """Another cell has it, and does not say just now whether it lives: to be asked again."""
    REVOKED = "certificate_revoked"
    PROTOCOL = "protocol"


@dataclass(frozen=True, slots=True)
class Join:
    """A cell's first message: who it is."""

    KIND: ClassVar[str] = "join"
    fqcn: str
    channel: str
    instance: str
    """Of this cell process; it comes again under the same one after a cut."""
    host: str
    pid: int
    """Of the process that the cell works for."""
    since: float
    """Unix seconds at which that one opened its pipe."""
    job: str
    """The job that a client job's cell serves; an agent's leaves it empty."""

    def __post_init__(self) -> None:
        """ValueError for what none says: it is shown to others, and stands in logs."""
        texts = (self.fqcn, self.channel, self.instance, self.host, self.job)
        if not all(len(text) <= LONGEST_NAME and text.isprintable() for text in texts):
            raise ValueError(
                f"a join message has a text that is longer than {LONGEST_NAME} characters, or "
                "cannot be printed"
            )
        if not (0 <= self.pid < _END_OF_PIDS and 0 <= self.since < _END_OF_TIMES):
            raise ValueError(f"a join message of process {self.pid} since {self.since} came")


@dataclass(frozen=True, slots=True)
class Joined:
    """The relay lets the cell in."""

    KIND: ClassVar[str] = "joined"
    site: str


@dataclass(frozen=True, slots=True)
class Refused:
    KIND: ClassVar[str] = "refused"
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Met:
    """The other end's cell is there too; both hear it."""

    KIND: ClassVar[str] = "met"
    instance: str
    meeting: int
    """From 1 to 2**63; every binary message of this meeting begins with it."""

    def __post_init__(self) -> None:
        if not 1 <= self.meeting <= 1 << 63:
            raise ValueError(f"a met message has the number {self.meeting}")


@dataclass(frozen=True, slots=True)
class Alone:
    """The other end's cell is not connected any more."""

    KIND: ClassVar[str] = "alone"


@dataclass(frozen=True, slots=True)
class Claim:
    """Another cell asks for this one's name: does its owner still live?"""

    KIND: ClassVar[str] = "claim"


@dataclass(frozen=True, slots=True)
class Holding:
    """Answers a claim; alive=False: this cell only hands over what is left, and goes."""

    KIND: ClassVar[str] = "holding"
    alive: bool


Words: TypeAlias = Join | Joined | Refused | Met | Alone | Claim | Holding

_KINDS: Final[dict[str, type[Words]]] = {
    kind.KIND: kind for kind in (Join, Joined, Refused, Met, Alone, Claim, Holding)
}
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
}


def to_text(words: Words) -> str:
    return json.dumps({"kind": words.KIND, **asdict(words)})


def from_text(text: str) -> Words:
    """ValueError for what no cell and no relay says."""
    if len(text) > LONGEST_WORDS:
        raise ValueError(f"a message of {len(text)} characters came, {LONGEST_WORDS} are allowed")
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("a message is nested too deeply") from error
    kind = _KINDS.get(str(found.pop("kind", ""))) if isinstance(found, dict) else None
    if kind is None:
        raise ValueError(f"a message of unknown kind came: {text[:80]!r}")
    known = {field.name: _TYPES[str(field.type)] for field in fields(kind)}
    if set(found) != set(known):
        raise ValueError(f"a message {kind.KIND!r} has other fields than {', '.join(known)}")
    for name, types in known.items():
        if type(found[name]) not in types:
            raise ValueError(f"{name} of a message {kind.KIND!r} is {found[name]!r:.80}")
    return kind(**found)
