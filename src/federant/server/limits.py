"""What the operator may bound: how much of the server each site, and each certificate, may take."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

KEEP_FREE_BYTES: Final = 512 << 20
"""For what the server itself writes: its database, and models."""
MOST_CONNECTIONS: Final = 256
"""A site has some for each of its client jobs."""
MOST_EVENTS: Final = 5_000_000
"""About a gigabyte of the database."""
_SHARE: Final = 4
"""A site may fill one in so many parts of the disk, if nothing else is said."""


class Limits(BaseModel):
    """As the server's own file may say them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    keep_free_bytes: Annotated[int, Field(ge=0)] = KEEP_FREE_BYTES
    """From fewer on, nothing is taken from sites and operators that would fill the disk."""
    site_bytes: Annotated[int | None, Field(ge=1)] = None
    """What a site may put that is no task's result; None: a quarter of the disk."""
    events: Annotated[int, Field(ge=1)] = MOST_EVENTS
    """Metrics, texts and images that are kept of a site in one job."""
    models: Annotated[int | None, Field(ge=1)] = None
    """Of a job that has ended, so many of the newest are kept, and the best; None: all."""
    connections: Annotated[int, Field(ge=1)] = MOST_CONNECTIONS
    """Open at a time, by one certificate."""

    def site_bytes_on(self, disk_bytes: int) -> int:
        """The same, on a disk of that size."""
        return self.site_bytes if self.site_bytes is not None else disk_bytes // _SHARE
