"""The kernel's word that a file has come, and what happens without it."""

import select
from pathlib import Path

import pytest

from federant.pipe.file.wakeups import Wakeups
from federant.testing.two_ends import LONG


def test_the_kernel_says_that_a_file_has_come(tmp_path: Path) -> None:
    pytest.importorskip("inotify_simple")
    wakeups = Wakeups()
    wakeups.open()
    wakeups.watch(tmp_path)
    poll = select.poll()
    ((descriptor, mask),) = wakeups.interest(LONG).descriptors
    poll.register(descriptor, mask)
    assert poll.poll(0) == []
    (tmp_path / "a").touch()
    assert poll.poll(LONG * 1000) != []
    wakeups.drain()
    assert poll.poll(0) == []
    wakeups.close()
    wakeups.close()


def test_a_folder_that_cannot_be_watched_is_polled(tmp_path: Path) -> None:
    wakeups = Wakeups()
    wakeups.open()
    wakeups.watch(tmp_path / "not there")
    assert wakeups.interest(7.0).seconds == 7.0
    wakeups.close()
