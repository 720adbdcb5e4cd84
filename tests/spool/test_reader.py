"""SpoolReader: private mappings that never change under a reader; reading that trusts nobody."""

import os
import re
import resource
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from federant.spool import FreedFile, SpoolFileError, SpoolReader, SpoolWriter

SIZE = 200_000


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    made = SpoolWriter(tmp_path / "spool", 1 << 22)
    yield made
    made.close()


@pytest.fixture
def reader(writer: SpoolWriter) -> SpoolReader:
    return SpoolReader(writer.folder)


def fill(writer: SpoolWriter, byte: bytes) -> str:
    with writer.lease(SIZE) as file:
        file.view[:] = byte * SIZE
        return file.name


def give_back_freed(reader: SpoolReader, writer: SpoolWriter) -> None:
    for name, recycle in reader.take_freed():
        writer.give_back(name, recycle=recycle)


def in_child(check: bool) -> None:
    """Ends a forked child with the check's outcome."""
    os._exit(0 if check else 1)


def test_a_mapping_shows_the_frame_and_is_writable(
    writer: SpoolWriter, reader: SpoolReader
) -> None:
    view = np.frombuffer(reader.map(fill(writer, b"a"), SIZE), np.uint8)
    view[0] = 7
    assert view[0] == 7
    assert view[1] == ord("a")


def test_what_a_reader_wrote_into_its_view_is_not_in_the_next_message_on_the_same_file(
    writer: SpoolWriter, reader: SpoolReader
) -> None:
    first = fill(writer, b"a")
    view = np.frombuffer(reader.map(first, SIZE), np.uint8)
    view[:5000] = 0
    del view
    give_back_freed(reader, writer)
    assert fill(writer, b"b") == first
    view = np.frombuffer(reader.map(first, SIZE), np.uint8)
    assert np.all(view == ord("b"))


def test_what_a_reader_wrote_never_reaches_the_file(
    writer: SpoolWriter, reader: SpoolReader
) -> None:
    name = fill(writer, b"a")
    view = np.frombuffer(reader.map(name, SIZE), np.uint8)
    view[:] = 0
    assert (writer.folder / name).read_bytes()[:SIZE] == b"a" * SIZE


def test_a_file_is_freed_when_the_last_view_of_it_is_dead(
    writer: SpoolWriter, reader: SpoolReader
) -> None:
    name = fill(writer, b"a")
    view = np.frombuffer(reader.map(name, SIZE), np.uint8)
    part = view[10:20].reshape(2, 5).T
    del view
    assert reader.take_freed() == []
    del part
    assert reader.take_freed() == [FreedFile(name, recycle=True)]
    assert reader.take_freed() == []


def test_somebody_is_woken_for_each_freed_file(writer: SpoolWriter) -> None:
    woken: list[bool] = []
    reader = SpoolReader(writer.folder, on_freed=lambda: woken.append(True))
    mapping = reader.map(fill(writer, b"a"), SIZE)
    assert not woken
    del mapping
    assert woken == [True]


def test_a_forked_child_that_holds_a_view_never_sees_the_next_message(
    writer: SpoolWriter, reader: SpoolReader
) -> None:
    view = np.frombuffer(reader.map(fill(writer, b"a"), SIZE), np.uint8)
    go, start = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(go, 1)
        in_child(bool(np.all(view == ord("a"))))
    del view
    [freed] = reader.take_freed()
    assert not freed.recycle
    writer.give_back(freed.name, recycle=freed.recycle)
    for _ in range(3):
        fill(writer, b"b")
    os.write(start, b"1")
    assert os.waitpid(child, 0)[1] == 0
    os.close(go)
    os.close(start)


def test_a_file_mapped_after_a_fork_is_recycled(writer: SpoolWriter, reader: SpoolReader) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    name = fill(writer, b"a")
    reader.map(name, SIZE)
    assert reader.take_freed() == [FreedFile(name, recycle=True)]


def test_a_view_that_dies_in_a_child_frees_nothing(
    writer: SpoolWriter, reader: SpoolReader
) -> None:
    view = np.frombuffer(reader.map(fill(writer, b"a"), SIZE), np.uint8)
    child = os.fork()
    if child == 0:
        del view
        in_child(reader.take_freed() == [])
    assert os.waitpid(child, 0)[1] == 0
    assert len(view) == SIZE


def test_reading_gives_writable_memory_of_our_own(writer: SpoolWriter, reader: SpoolReader) -> None:
    name = fill(writer, b"a")
    memory = reader.read(name, SIZE)
    writer.give_back(name)
    fill(writer, b"b")
    memory[0] = 7
    assert bytes(memory[1:SIZE]) == b"a" * (SIZE - 1)
    assert reader.take_freed() == []


def test_a_part_can_be_read(writer: SpoolWriter, reader: SpoolReader) -> None:
    with writer.lease(SIZE) as file:
        file.view[:] = bytes(SIZE)
        file.view[1000:1003] = b"abc"
    assert bytes(reader.read(file.name, 3, offset=1000)) == b"abc"


def test_a_truncated_file_is_an_error_and_not_a_dead_process(
    writer: SpoolWriter, reader: SpoolReader
) -> None:
    name = fill(writer, b"a")
    os.truncate(writer.folder / name, 100)
    for open_frame in (reader.read, reader.map):
        with pytest.raises(SpoolFileError, match=r"at least 200000 bytes .*100 bytes"):
            open_frame(name, SIZE)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(
    writer: SpoolWriter, reader: SpoolReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = fill(writer, b"a")
    really_read = os.preadv

    def shrink_first(*arguments: object) -> int:
        os.truncate(writer.folder / name, 100)
        return really_read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "preadv", shrink_first)
    with pytest.raises(SpoolFileError, match="ended after 100 of 200000 bytes"):
        reader.read(name, SIZE)


@pytest.mark.parametrize(
    "name", ["../frame-1", "/etc/passwd", "", ".", "..", "a/b", "a\0b", "x" * 200]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(reader: SpoolReader, name: str) -> None:
    with pytest.raises(SpoolFileError, match="is not the name of a spool file"):
        reader.read(name, SIZE)


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_that_cannot_be_is_refused(
    writer: SpoolWriter, reader: SpoolReader, size: int
) -> None:
    with pytest.raises(SpoolFileError, match="cannot be"):
        reader.read(fill(writer, b"a"), size)


def test_what_is_no_plain_file_is_refused_without_blocking(
    writer: SpoolWriter, reader: SpoolReader, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(SIZE))
    (writer.folder / "link").symlink_to(secret)
    os.mkfifo(writer.folder / "fifo")
    (writer.folder / "folder").mkdir()
    for name in ("link", "fifo", "folder", "absent"):
        with pytest.raises(SpoolFileError):
            reader.read(name, SIZE)
    for name in ("link", "fifo"):
        (writer.folder / name).unlink()
    (writer.folder / "folder").rmdir()


def test_a_huge_claimed_size_allocates_nothing(
    writer: SpoolWriter, reader: SpoolReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = fill(writer, b"a")
    # Whatever it might allocate comes from there.
    monkeypatch.setattr("mmap.mmap", lambda *_, **__: pytest.fail("memory was asked for"))
    with pytest.raises(SpoolFileError):
        reader.read(name, 1 << 30)


def little_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + (32 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def descriptors(free: int) -> None:
    lowest = os.dup(0)
    os.close(lowest)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + free, hard))


@pytest.mark.parametrize(
    ("call", "limit", "reason"),
    [
        ("map", little_memory, "cannot be mapped: .*Cannot allocate memory"),
        ("read", little_memory, "cannot be read: .*Cannot allocate memory"),
        ("map", partial(descriptors, 0), "cannot be opened: Too many open files"),
        ("map", partial(descriptors, 1), "cannot be mapped: .*Too many open files"),
    ],
)
def test_a_process_at_its_limits_is_told_that_the_file_cannot_be_read(
    tmp_path: Path, call: str, limit: Callable[[], None], reason: str
) -> None:
    size = 1 << 28
    (tmp_path / "frame-1").touch()
    os.truncate(tmp_path / "frame-1", size)
    child = os.fork()
    if child == 0:
        told = ""
        try:
            limit()
            getattr(SpoolReader(tmp_path), call)("frame-1", size)
        except SpoolFileError as error:
            told = str(error)
        finally:
            in_child(re.search(reason, told) is not None)
    assert os.waitpid(child, 0)[1] == 0
