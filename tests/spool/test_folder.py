"""Spool folders of dead owners are taken down; those of living owners are left alone."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from federant.spool import SpoolReader, SpoolWriter, reclaim

SIZE = 100_000


def fill(writer: SpoolWriter) -> str:
    with writer.lease(SIZE) as file:
        file.view[:] = b"a" * SIZE
        return file.name


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A folder with two frames whose owner was killed."""
    folder = tmp_path / "spool"
    child = os.fork()
    if child == 0:
        writer = SpoolWriter(folder, 1 << 22)
        fill(writer)
        fill(writer)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    return folder


def test_the_files_of_a_crashed_owner_are_reclaimed(crashed: Path) -> None:
    assert len(list(crashed.iterdir())) == 2
    assert reclaim(crashed)
    assert not crashed.exists()


def test_named_files_of_a_crashed_owner_are_kept_until_they_are_not_named(crashed: Path) -> None:
    assert not reclaim(crashed, keep={"frame-2"})
    assert [entry.name for entry in crashed.iterdir()] == ["frame-2"]
    assert reclaim(crashed)
    assert not crashed.exists()


def test_a_reader_that_survives_the_owner_keeps_its_view(crashed: Path) -> None:
    view = np.frombuffer(SpoolReader(crashed).map("frame-1", SIZE), np.uint8)
    reclaim(crashed)
    assert np.all(view == ord("a"))


def test_a_living_owner_is_left_alone(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool", 1 << 22)
    name = fill(writer)
    assert not reclaim(writer.folder)
    assert (writer.folder / name).exists()
    writer.close()


def test_a_folder_that_is_not_there_needs_no_reclaiming(tmp_path: Path) -> None:
    assert reclaim(tmp_path / "absent")


def test_whatever_else_lies_in_a_dead_folder_goes_too_and_no_link_is_followed(
    crashed: Path, tmp_path: Path
) -> None:
    (crashed / "sub" / "deeper").mkdir(parents=True)
    (crashed / "sub" / "deeper" / "file").write_text("x")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    (crashed / "link").symlink_to(elsewhere)
    (crashed / "sub" / "link").symlink_to(elsewhere)
    (crashed / "nowhere").symlink_to(tmp_path / "absent")
    os.mkfifo(crashed / "fifo")
    assert reclaim(crashed)
    assert not crashed.exists()
    assert (elsewhere / "kept").exists()


@pytest.mark.parametrize("kind", ["file", "link", "link to nothing", "fifo"])
def test_what_is_no_folder_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    path = tmp_path / "spool"
    match kind:
        case "file":
            path.write_text("x")
        case "link":
            path.symlink_to(elsewhere)
        case "link to nothing":
            path.symlink_to(tmp_path / "absent")
        case "fifo":
            os.mkfifo(path)
    assert not reclaim(path)
    assert os.path.lexists(path)
    assert (elsewhere / "kept").exists()
    assert f"no spool folder, left alone path={path}" in caplog.text


def test_what_cannot_be_taken_away_stays_and_is_logged(
    crashed: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    assert not reclaim(crashed)
    assert f"not taken away path={crashed / 'frame-1'}" in caplog.text


def test_a_reclaimed_folder_can_be_owned_again(crashed: Path) -> None:
    reclaim(crashed)
    writer = SpoolWriter(crashed, 1 << 22)
    assert fill(writer) == "frame-1"
    writer.close()
