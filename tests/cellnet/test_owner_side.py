"""A client job's cell towards its owner, as the cell of an agent drives it; real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

from federant.cellnet.owner_side import OwnerSide
from federant.cellnet.pieces import Piece, What
from federant.cellnet.tunnel import Lane, Packet, Tunnel
from federant.pipe import Mode
from federant.pipe.local import sockets
from federant.pipe.local.place import Place

MANY = 100
"""Sessions; at their usual pace they would take half a minute."""


async def dialled_of_many(root: Path) -> int:
    """How often the client job is dialled where its agent opens many sessions at once."""
    place = Place(root, Mode.ACTIVE)
    place.channel = "task"
    agents, own = Tunnel(), Tunnel()
    side = OwnerSide(place, "secret", 1 << 20, own, wake=lambda: None, on_swept=lambda _: None)

    def carry(sender: Tunnel, receiver: Tunnel) -> None:
        while (message := sender.next_message()) is not None:
            for event in receiver.feed(message):
                if isinstance(event, Packet) and receiver is own:
                    side.receive(event)

    for tunnel, peer in ((agents, "job"), (own, "agent")):
        tunnel.meet(peer, 1)
    carry(own, agents)
    carry(agents, own)
    dialled = 0
    with sockets.listen(place.socket) as listener:
        for number in range(1, MANY + 1):
            agents.put(Lane.EXPRESS, Piece(number, What.OPEN).to_bytes())
            carry(agents, own)
            try:
                listener.accept()[0].close()
                dialled += 1
            except BlockingIOError:
                continue
        await side.close()
    return dialled


def test_a_client_job_is_dialled_a_few_times_at_once_however_fast_sessions_are_opened(
    tmp_path: Path,
) -> None:
    assert 1 < asyncio.run(dialled_of_many(tmp_path)) < MANY
