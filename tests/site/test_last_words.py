"""What the processes of a trainer leave when they crash, as its client job reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from federant.client.errors import AgentEndException
from federant.client.last_words import leave_words
from federant.site.job_file import JobFolder
from federant.site.last_words import forget_last_words, has_last_words, read_last_words


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    folder = JobFolder(tmp_path)
    folder.pipe.mkdir()
    return folder


@pytest.fixture(autouse=True)
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")


def crash(folder: JobFolder, error: BaseException, rank: int) -> None:
    with pytest.raises(type(error)) as raised:
        raise error
    leave_words(folder.pipe, raised.value, rank=str(rank))


def test_each_says_its_rank_and_its_traceback_and_the_first_comes_first(folder: JobFolder):
    crash(folder, ValueError("bad batch"), 1)
    crash(folder, ConnectionError("a peer is gone"), 0)
    assert has_last_words(folder.last_words)
    first, second = read_last_words(folder.last_words).split("rank ")[1:]
    assert first.startswith("1, process ")
    assert "Traceback" in first
    assert first.rstrip().endswith("ValueError: bad batch")
    assert second.startswith("0, process ")
    assert second.endswith("ConnectionError: a peer is gone")


def test_what_an_earlier_trainer_said_is_forgotten(folder: JobFolder):
    crash(folder, ValueError("bad batch"), 1)
    forget_last_words(folder.last_words)
    assert not has_last_words(folder.last_words)
    assert read_last_words(folder.last_words) == ""
    forget_last_words(folder.last_words)


def test_a_trainer_of_one_process_tells_through_the_pipe_alone(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("WORLD_SIZE")
    crash(folder, ValueError("bad batch"), 0)
    assert not has_last_words(folder.last_words)


@pytest.mark.parametrize(
    "error", [SystemExit(0), KeyboardInterrupt(), AgentEndException("the job has ended")]
)
def test_leaving_on_purpose_needs_no_words(folder: JobFolder, error: BaseException):
    crash(folder, error, 1)
    assert not has_last_words(folder.last_words)


def test_of_a_long_text_the_end_is_told_and_of_many_processes_the_first(folder: JobFolder):
    for rank in range(10):
        crash(folder, ValueError("x" * 20_000 + " the end"), rank)
    words = read_last_words(folder.last_words)
    assert len(words) < 80_000
    assert words.count("the end\n") == 8
    assert words.count("rank ") == 8
    assert words.endswith("(2 more processes crashed after these)")


def test_text_that_cannot_be_written_and_a_folder_that_is_gone_are_no_errors(folder: JobFolder):
    crash(folder, ValueError("\udcff the end"), 1)
    assert "? the end" in read_last_words(folder.last_words)
    forget_last_words(folder.last_words)
    folder.pipe.rmdir()
    crash(folder, ValueError("bad batch"), 1)
    assert not has_last_words(folder.last_words)


def test_what_is_no_plain_file_holds_nobody_up(folder: JobFolder):
    crash(folder, ValueError("bad batch"), 1)
    os.mkfifo(folder.last_words / "0.txt")
    (folder.last_words / "1.txt").symlink_to("/etc/passwd")
    words = read_last_words(folder.last_words)
    assert words.startswith("rank 1")
    assert words.endswith("ValueError: bad batch")
