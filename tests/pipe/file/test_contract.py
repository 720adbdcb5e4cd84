"""FilePipe passes the contract of every pipe, with peers in other processes."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from federant.pipe import FilePipe, Mode, Pipe
from federant.testing import PipeContract


class TestFilePipe(PipeContract):
    crosses_processes = True

    @pytest.fixture
    def make_pipe(self, tmp_path: Path) -> Callable[[Mode], Pipe]:
        return lambda mode: FilePipe(mode, tmp_path / "pipe", 0.02)


class TestFilePipeThatPolls(PipeContract):
    """Without the kernel's word, as between hosts; the peers in other processes poll anyway."""

    crosses_processes = True

    @pytest.fixture
    def make_pipe(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mode], Pipe]:
        monkeypatch.setitem(sys.modules, "inotify_simple", None)
        return lambda mode: FilePipe(mode, tmp_path / "pipe", 0.01)
