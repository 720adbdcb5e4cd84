"""LocalPipe passes the contract of every pipe, with peers in other processes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from federant.pipe import LocalPipe, Mode, Pipe
from federant.testing import PipeContract


class TestLocalPipe(PipeContract):
    crosses_processes = True

    @pytest.fixture
    def make_pipe(self, tmp_path: Path) -> Callable[[Mode], Pipe]:
        return lambda mode: LocalPipe(mode, tmp_path / "pipe", token="a token")
