"""CellPipe passes the contract of every pipe, with cells and peers in other processes."""

import contextlib
import time
import uuid
from collections.abc import Callable

import pytest

from federant.pipe import CellPipe, Mode, PeerGoneError, Pipe
from federant.testing import PipeContract
from federant.testing.two_ends import LONG, SHORT


class TestCellPipe(PipeContract):
    crosses_processes = True

    @pytest.fixture
    def make_pipe(self, plain_relay: str) -> Callable[[Mode], Pipe]:
        token = f"agent-{uuid.uuid4().hex[:8]}"
        return lambda mode: CellPipe(mode, "site-1", token, plain_relay, secure_mode=False)

    def hear_of_death(self, pipe: Pipe) -> None:
        """News of a death comes by way of the relay: an agent has it once its peer is gone."""
        super().hear_of_death(pipe)
        assert isinstance(pipe, CellPipe)
        deadline = time.monotonic() + LONG
        while pipe.mode is Mode.ACTIVE and pipe.peer is not None:
            assert time.monotonic() < deadline
            with contextlib.suppress(PeerGoneError):
                pipe.receive(SHORT)
