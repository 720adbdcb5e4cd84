"""Whether this machine still has the address from which a connection goes out."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any, Final

LOOK_SECONDS: Final = 1.0


async def lost(address: Any) -> None:
    """Returns once the machine has that local address (of a socket) no more.

    Nobody tells a connection so: what it sends goes nowhere, until it counts as dead.
    """
    while _is_ours(address[0]):
        await asyncio.sleep(LOOK_SECONDS)


def _is_ours(host: str) -> bool:
    try:
        with socket.socket(
            socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM
        ) as probe:
            probe.bind((host, 0))
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True
