"""What a pipe tells the cell that it starts, as one line of JSON on the cell's standard input."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Order:
    """All texts, numbers and truths; there are secrets among them."""

    mode: str
    """Of the owner's end."""
    site: str
    agent_id: str
    channel: str
    root: str
    """The folder of the owner's LocalPipe."""
    temporary: bool
    """Whether the folder goes when the cell does."""
    secret: str
    """What the owner's LocalPipe and this cell show each other."""
    spool_bytes: int
    url: str
    """The relay's: ws:// or wss://, with its path."""
    kit: str
    """The folder of the startup kit; empty without TLS."""
    revoked: str
    """The file of certificates that are good no more; empty if none is kept."""
    job: str
    peer_timeout: float
    """Seconds without the other cell after which its owner counts as dead; 0: never."""
    pid: int
    """The owner's."""

    @classmethod
    def from_line(cls, line: str) -> Order:
        """ValueError, TypeError for what no pipe says."""
        found = json.loads(line)
        if set(found) != {field.name for field in fields(cls)}:
            raise ValueError("an order has other fields than this version's")
        return cls(**found)
