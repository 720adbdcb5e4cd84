"""Who has joined a relay, and who meets whom; how they are let in and told so is not here.

A seat is had by name, channel and the job that the certificate is for. So an agent's kit that is
narrowed to one job is in the way of no other job, where it could take no part.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from federant.cellnet import words
from federant.cellnet.dial import CLOSE_SECONDS
from federant.cellnet.names import End, Fqcn
from federant.link.identity import Identity

_Place: TypeAlias = tuple[Fqcn, str, str]
"""Name, channel, and the one job that the certificate is good for; empty for any."""


@dataclass(slots=True, eq=False)
class Seat:
    """A cell that has joined."""

    fqcn: Fqcn
    join: words.Join
    connection: ServerConnection
    identity: Identity | None
    answers: asyncio.Queue[bool] = field(default_factory=lambda: asyncio.Queue(1))
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def place(self) -> _Place:
        job = "" if self.identity is None else self.identity.job
        return self.fqcn, self.join.channel, job

    async def tell(self, said: words.Words) -> None:
        try:
            await self.connection.send(words.to_text(said))
        except ConnectionClosed:
            return  # its own task sees that too

    async def end(self) -> None:
        """Close the connection, also one whose other end takes nothing any more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.connection.close()
        self.connection.transport.abort()

    def __str__(self) -> str:
        opened = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.join.since))
        return f"process {self.join.pid} on {self.join.host} since {opened}"


class Seats:
    """All of one relay."""

    def __init__(self) -> None:
        self._taken: dict[_Place, Seat] = {}

    def __contains__(self, seat: Seat) -> bool:
        return self._taken.get(seat.place) is seat

    def __iter__(self) -> Iterator[Seat]:
        return iter(list(self._taken.values()))

    def put(self, seat: Seat) -> None:
        """There is no rival."""
        self._taken[seat.place] = seat

    def remove(self, seat: Seat) -> bool:
        """Whether it was there."""
        was_there = seat in self
        if was_there:
            del self._taken[seat.place]
        return was_there

    def rival(self, seat: Seat) -> Seat | None:
        """Who has to be gone before that one can sit down: who has its place, or, of an agent, is
        with its client job. A client job is with one agent at a time."""
        holder = self._taken.get(seat.place)
        if holder is None and (job := self.job_of(seat)) is not None:
            holder = self.other(job)
        return holder

    def other(self, seat: Seat) -> Seat | None:
        """Whom it meets: a client job an agent for just that job, before one for any."""
        if seat.fqcn.end is End.AGENT:
            job = self.job_of(seat)
            return job if job is not None and self.other(job) is seat else None
        for only_for in (seat.join.job, ""):
            agent = self._taken.get((seat.fqcn.opposite, seat.join.channel, only_for))
            if agent is not None:
                return agent
        return None

    def job_of(self, seat: Seat) -> Seat | None:
        """An agent's client job, if it is there, be it with that agent or not."""
        if seat.fqcn.end is not End.AGENT:
            return None
        return self._taken.get((seat.fqcn.opposite, seat.join.channel, ""))

    def agents_of(self, seat: Seat) -> list[Seat]:
        """All of a client job's name and channel, also those who may not take part in its job."""
        wanted = (seat.fqcn.opposite, seat.join.channel)
        return [each for each in self if (each.fqcn, each.join.channel) == wanted]
