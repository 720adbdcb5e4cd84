"""Values from rank 0 to every process of torch's process group; as frames, never pickled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist

from federant.codec import decode, encode

PATIENCE: Final = timedelta(days=365)
"""How long the others wait for rank 0: a task may be long in coming.

A rank that dies meanwhile is noticed at once, because its connections close.
"""

_CHUNK: Final = 256 * 1024 * 1024
"""Bytes in one call of the group, far below what one message may have."""


class Broadcast:
    """From rank 0 to all, through the memory of the hosts; every rank makes one at the same time.

    It has a group of its own, of gloo, whatever the trainer's is: the others may wait here for
    hours, which a group that watches over its GPUs would take for a failure.
    """

    def __init__(self) -> None:
        self.rank: int = dist.get_rank()
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE)

    def give(self, value: object) -> None:
        """From rank 0: each other rank's ``get`` returns it. TypeError for what cannot travel."""
        frame = encode(value)
        content = torch.empty(frame.size, dtype=torch.uint8)
        frame.write_into(content.numpy().data)
        self._pass(torch.tensor([frame.size]))
        self._pass(content)

    def get(self) -> Any:
        """In every other rank: what rank 0 gives; its arrays may be written to."""
        size = torch.zeros(1, dtype=torch.int64)
        self._pass(size)
        content = torch.empty(int(size), dtype=torch.uint8)
        self._pass(content)
        return decode(content.numpy().data).body

    def _pass(self, tensor: torch.Tensor) -> None:
        for part in tensor.split(_CHUNK):
            dist.broadcast(part, 0, group=self._group)
