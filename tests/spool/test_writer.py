"""SpoolWriter: leases, recycling, limits, full disks, forks."""

import errno
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from federant.spool import (
    SpoolClosedError,
    SpoolDiskFullError,
    SpoolFullError,
    SpoolLimitError,
    SpoolWriter,
    reclaim,
)
from federant.spool.writer import size_class

MIB = 1024 * 1024


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    made = SpoolWriter(tmp_path / "spool", 4 * MIB)
    yield made
    made.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["/bin/mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small file system cannot be mounted here: {error}")
    yield place
    subprocess.run(["/bin/umount", "--lazy", str(place)], check=True)


def fill(writer: SpoolWriter, content: bytes) -> str:
    with writer.lease(len(content)) as file:
        file.view[:] = content
        return file.name


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (0, 65536),
        (1, 65536),
        (65536, 65536),
        (65537, 81920),
        (81921, 98304),
        (100_000_000, 100663296),
    ],
)
def test_a_file_is_at_most_a_quarter_larger_than_its_frame(size: int, wanted: int) -> None:
    assert size_class(size) == wanted


def test_size_classes_are_whole_pages_and_hold_the_frame() -> None:
    for size in range(1, 5 * MIB, 9973):
        assert size_class(size) >= size
        assert size_class(size) % 4096 == 0
        assert size_class(size) <= max(65536, size * 5 // 4 + 4096)


def test_a_lease_gives_a_view_of_exactly_the_size_asked_for(writer: SpoolWriter) -> None:
    with writer.lease(100_001) as file:
        assert file.view.nbytes == 100_001
        file.view[:3] = b"abc"
        assert file.path.read_bytes()[:3] == b"abc"


def test_a_file_given_back_is_used_again(writer: SpoolWriter) -> None:
    name = fill(writer, b"a" * 100_000)
    writer.give_back(name)
    assert fill(writer, b"b" * 99_000) == name
    assert (writer.folder / name).read_bytes().startswith(b"b" * 99_000)


def test_a_file_in_flight_is_not_used_again(writer: SpoolWriter) -> None:
    assert fill(writer, b"a" * 100_000) != fill(writer, b"b" * 100_000)
    assert len(writer.leased_names) == 2


def test_a_file_given_back_twice_is_leased_once(writer: SpoolWriter) -> None:
    name = fill(writer, b"a" * 100_000)
    writer.give_back(name)
    writer.give_back(name)
    assert fill(writer, b"b" * 100_000) != fill(writer, b"c" * 100_000)


def test_a_file_that_may_not_be_recycled_is_unlinked(writer: SpoolWriter) -> None:
    name = fill(writer, b"a" * 100_000)
    writer.give_back(name, recycle=False)
    assert not (writer.folder / name).exists()
    assert writer.used_bytes == 0
    assert fill(writer, b"b" * 100_000) != name


@pytest.mark.parametrize("harm", [lambda path: os.truncate(path, 10), lambda path: path.unlink()])
def test_a_file_that_somebody_cut_short_or_removed_is_replaced(
    writer: SpoolWriter, harm: Callable[[Path], None]
) -> None:
    name = fill(writer, b"a" * 100_000)
    writer.give_back(name)
    harm(writer.folder / name)
    replaced = fill(writer, b"b" * 100_000)
    assert (writer.folder / replaced).read_bytes().startswith(b"b" * 100_000)
    assert writer.used_bytes == size_class(100_000)


def test_a_lease_whose_block_fails_is_given_back(writer: SpoolWriter) -> None:
    with pytest.raises(KeyError), writer.lease(100_000):
        raise KeyError
    assert not writer.leased_names


def test_idle_files_of_other_sizes_make_room(writer: SpoolWriter) -> None:
    for _ in range(3):
        writer.give_back(fill(writer, bytes(MIB)))
    fill(writer, bytes(4 * MIB))
    assert writer.used_bytes == 4 * MIB


def test_a_spool_full_of_frames_in_flight_says_so_and_takes_the_next_after_one_is_freed(
    writer: SpoolWriter,
) -> None:
    names = [fill(writer, bytes(MIB)) for _ in range(4)]
    with pytest.raises(
        SpoolFullError, match=r"4 frames in flight use 4194304 of the 4194304 bytes"
    ):
        writer.lease(MIB)
    writer.give_back(names[0])
    assert fill(writer, bytes(MIB)) == names[0]


def test_no_file_is_made_beside_one_of_that_size_in_use_for_who_can_wait_for_it(
    writer: SpoolWriter,
) -> None:
    name = fill(writer, bytes(MIB))
    with pytest.raises(SpoolFullError, match=r"1048576 bytes in .* is in use"):
        writer.lease(MIB, beside=False)
    assert writer.lease(MIB // 2, beside=False).name != name
    writer.give_back(name)
    assert writer.lease(MIB, beside=False).name == name


def test_a_frame_larger_than_the_spool_is_refused_for_good(writer: SpoolWriter) -> None:
    with pytest.raises(SpoolLimitError, match=r"5242880 bytes.*raise its limit"):
        writer.lease(4 * MIB + 1)


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(small_disk: Path) -> None:
    writer = SpoolWriter(small_disk / "spool", 64 * MIB)
    with pytest.raises(SpoolDiskFullError, match="free some space there") as caught:
        writer.lease(8 * MIB)
    assert caught.value.errno == errno.ENOSPC
    assert list(writer.folder.iterdir()) == []
    fill(writer, bytes(MIB))
    writer.close()


def test_a_file_that_may_not_be_so_large_is_an_error_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    """The same as a full disk for whoever cannot mount one: the system refuses to set it aside."""
    child = os.fork()
    if child == 0:
        as_said = False
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, 2 * MIB))
            writer = SpoolWriter(tmp_path / "spool", 64 * MIB)
            try:
                writer.lease(8 * MIB)
            except SpoolDiskFullError as error:
                clean = not list(writer.folder.iterdir()) and not writer.used_bytes
                fill(writer, bytes(MIB))
                as_said = clean and "free some space there" in str(error)
            writer.close()
        finally:
            os._exit(0 if as_said else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_full_disk_takes_idle_files_first(small_disk: Path) -> None:
    writer = SpoolWriter(small_disk / "spool", 64 * MIB)
    idle = [fill(writer, bytes(MIB)) for _ in range(3)]
    for name in idle:
        writer.give_back(name)
    fill(writer, bytes(3 * MIB))
    assert writer.used_bytes == 3 * MIB
    writer.close()


def test_the_folder_and_its_files_are_private(writer: SpoolWriter) -> None:
    name = fill(writer, bytes(100_000))
    assert writer.folder.stat().st_mode & 0o777 == 0o700
    assert (writer.folder / name).stat().st_mode & 0o777 == 0o600


def test_a_folder_has_one_owner(writer: SpoolWriter) -> None:
    with pytest.raises(FileExistsError, match="living owner"):
        SpoolWriter(writer.folder, MIB)


def test_close_takes_the_folder_down(writer: SpoolWriter) -> None:
    fill(writer, bytes(100_000))
    writer.close()
    writer.close()
    assert not writer.folder.exists()
    with pytest.raises(SpoolClosedError, match="is closed"):
        writer.lease(100_000)


def test_close_can_leave_what_is_in_flight_to_its_readers(writer: SpoolWriter) -> None:
    idle, kept = fill(writer, bytes(100_000)), fill(writer, b"k" * 100_000)
    writer.give_back(idle)
    writer.close(keep_leased=True)
    assert [entry.name for entry in writer.folder.iterdir()] == [kept]
    assert reclaim(writer.folder)


def test_close_survives_that_somebody_removed_the_folder(writer: SpoolWriter) -> None:
    name = fill(writer, bytes(100_000))
    (writer.folder / name).unlink()
    writer.folder.rmdir()
    writer.close()


def test_a_limit_that_holds_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 65536 bytes, got 10"):
        SpoolWriter(tmp_path / "spool", 10)


def test_a_living_child_does_not_own_the_folder_of_its_dead_parent(tmp_path: Path) -> None:
    """Data loader workers may outlive the trainer that they were forked from."""
    folder = tmp_path / "spool"
    told, tell = os.pipe()
    alive, die = os.pipe()
    parent = os.fork()
    if parent == 0:
        writer = SpoolWriter(folder, MIB)
        fill(writer, bytes(100_000))
        if os.fork() == 0:
            os.close(die)
            os.write(tell, b"ready")
            os.read(alive, 1)  # until the test closes the other end
        os._exit(0)
    os.waitpid(parent, 0)
    assert os.read(told, 5) == b"ready"
    assert reclaim(folder)
    for descriptor in (told, tell, alive, die):
        os.close(descriptor)
