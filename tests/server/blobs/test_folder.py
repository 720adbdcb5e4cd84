"""Blobs in a folder: by digest, durable, resumed where they were cut, and safe from one another."""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federant.link import BlobRef, blob_ref
from federant.server.blobs import (
    MOST_PARTS,
    BlobDigestError,
    BlobNotFoundError,
    BlobOffsetError,
    BlobQuotaError,
    BlobSpaceError,
    BlobSupersededError,
    FolderBlobs,
)
from federant.server.state import Durability

DATA = bytes(range(256)) * 1000
BLOB = blob_ref([DATA])


def _send(blobs: FolderBlobs, data: bytes, blob: BlobRef, owner: str, offset: int = 0) -> None:
    upload = blobs.begin(blob, owner, offset)
    try:
        upload.write(data[offset:])
        upload.finish()
    finally:
        upload.close()


def _cut(blobs: FolderBlobs, owner: str, count: int) -> None:
    upload = blobs.begin(BLOB, owner, 0)
    upload.write(DATA[:count])
    upload.close()


@pytest.mark.parametrize("durability", list(Durability))
def test_a_blob_that_was_put_is_found_by_its_digest(tmp_path: Path, durability: Durability) -> None:
    blobs = FolderBlobs(tmp_path, durability=durability)
    blob = blobs.put([DATA[:100], memoryview(DATA)[100:]])
    assert blob == BLOB
    assert blobs.size(blob.digest) == len(DATA)
    assert blobs.path(blob.digest).read_bytes() == DATA
    assert blobs.put([DATA]) == blob


def test_an_empty_blob_is_a_blob(blobs: FolderBlobs) -> None:
    empty = blob_ref([])
    _send(blobs, b"", empty, "site-1")
    assert blobs.size(empty.digest) == 0


def test_what_is_not_there_is_said_to_be_not_there(blobs: FolderBlobs) -> None:
    assert blobs.size(BLOB.digest) is None
    with pytest.raises(BlobNotFoundError, match=f"there is no blob {BLOB.digest}"):
        blobs.path(BLOB.digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_what_is_no_digest_never_becomes_a_path(blobs: FolderBlobs, digest: str) -> None:
    with pytest.raises(BlobNotFoundError, match="is no digest"):
        blobs.path(digest)


def test_an_owner_that_is_no_name_never_becomes_a_path(blobs: FolderBlobs) -> None:
    with pytest.raises(ValueError, match="cannot own a transfer"):
        blobs.begin(BLOB, "../site", 0)


def test_a_blob_on_the_disk_cannot_be_written_to(blobs: FolderBlobs) -> None:
    blobs.put([DATA])
    assert stat.S_IMODE(blobs.path(BLOB.digest).stat().st_mode) == 0o400


def test_a_transfer_whose_end_fails_leaves_what_the_next_can_go_on_with(
    blobs: FolderBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Path, _target: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="Input/output error"):
        _send(blobs, DATA, BLOB, "site-1")
    monkeypatch.undo()
    (left,) = (tmp_path / "blobs" / "partial").iterdir()
    assert left.stat().st_mode & stat.S_IWUSR
    _send(blobs, DATA, BLOB, "site-1", blobs.offset(BLOB, "site-1"))
    assert blobs.path(BLOB.digest).read_bytes() == DATA


def test_bytes_that_could_not_be_synced_are_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    blobs = FolderBlobs(tmp_path, durability=Durability.POWER)
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        _send(blobs, DATA, BLOB, "site-1")
    monkeypatch.undo()
    assert blobs.size(BLOB.digest) is None
    assert blobs.offset(BLOB, "site-1") == 0


def test_the_folder_of_all_blobs_is_synced_once_for_each_subfolder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, synced = os.fsync, []

    def watched(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    # The digests of these two begin alike, so that they lie in one subfolder.
    by_start: dict[str, bytes] = {}
    for number in range(10_000):
        data = str(number).encode()
        start = blob_ref([data]).digest[:2]
        if start in by_start:
            break
        by_start[start] = data
    counts = []
    for blobs in (FolderBlobs(tmp_path), FolderBlobs(tmp_path)):
        for each in (by_start[start], data, data):
            synced.clear()
            blobs.put([each])
            counts.append(synced.count(tmp_path.stat().st_ino))
            assert synced.count((tmp_path / start).stat().st_ino) == 1
    assert counts == [1, 0, 0, 1, 0, 0]


def test_a_blob_is_not_there_before_it_is_finished(blobs: FolderBlobs) -> None:
    upload = blobs.begin(BLOB, "site-1", 0)
    upload.write(DATA)
    assert blobs.size(BLOB.digest) is None
    upload.finish()
    assert blobs.size(BLOB.digest) == len(DATA)


def test_a_cut_transfer_goes_on_from_where_it_was_cut(blobs: FolderBlobs) -> None:
    _cut(blobs, "site-1", 70_000)
    assert blobs.offset(BLOB, "site-1") == 70_000
    _send(blobs, DATA, BLOB, "site-1", 70_000)
    assert blobs.path(BLOB.digest).read_bytes() == DATA
    assert blobs.offset(BLOB, "site-1") == 0


def test_a_transfer_may_go_back_and_not_ahead(blobs: FolderBlobs) -> None:
    _cut(blobs, "site-1", 500)
    with pytest.raises(BlobOffsetError, match="cannot go on at byte 501: 500 bytes of its"):
        blobs.begin(BLOB, "site-1", 501)
    _send(blobs, DATA, BLOB, "site-1", 100)
    assert blobs.size(BLOB.digest) == len(DATA)


def test_one_owners_partial_bytes_are_not_anothers(blobs: FolderBlobs) -> None:
    _cut(blobs, "site-1", 500)
    assert blobs.offset(BLOB, "site-2") == 0
    _send(blobs, DATA, BLOB, "site-2")
    assert blobs.size(BLOB.digest) == len(DATA)


def test_wrong_bytes_are_thrown_away(blobs: FolderBlobs) -> None:
    with pytest.raises(BlobDigestError, match="has the digest"):
        _send(blobs, b"x" * len(DATA), BLOB, "site-1")
    assert blobs.size(BLOB.digest) is None
    assert blobs.offset(BLOB, "site-1") == 0


def test_more_bytes_than_announced_are_refused(blobs: FolderBlobs) -> None:
    with pytest.raises(BlobDigestError, match="and more came"):
        _send(blobs, DATA + b"x", BLOB, "site-1")


def test_fewer_bytes_than_announced_are_kept_to_go_on_from(blobs: FolderBlobs) -> None:
    with pytest.raises(BlobOffsetError, match="ended after 10 of its 256000 bytes"):
        _send(blobs, DATA[:10], BLOB, "site-1")
    assert blobs.offset(BLOB, "site-1") == 10


def test_a_newer_transfer_takes_over_from_one_that_hangs(blobs: FolderBlobs) -> None:
    hanging = blobs.begin(BLOB, "site-1", 0)
    hanging.write(DATA[:1000])
    newer = blobs.begin(BLOB, "site-1", 1000)
    with pytest.raises(BlobSupersededError, match="has taken over"):
        hanging.write(DATA[1000:])
    hanging.close()
    newer.write(DATA[1000:])
    newer.finish()
    assert blobs.path(BLOB.digest).read_bytes() == DATA


def test_owners_racing_to_send_one_blob_make_one_blob(
    blobs: FolderBlobs, in_threads: Callable[[int, Callable[[int], Any]], list[Any]]
) -> None:
    in_threads(6, lambda n: _send(blobs, DATA, BLOB, f"site-{n}"))
    assert blobs.path(BLOB.digest).read_bytes() == DATA


def test_one_owners_racing_transfers_end_with_the_blob_or_give_way(
    blobs: FolderBlobs, in_threads: Callable[[int, Callable[[int], Any]], list[Any]]
) -> None:
    def act(_: int) -> bool:
        try:
            _send(blobs, DATA, BLOB, "site-1")
        except BlobSupersededError:
            return False
        return True

    assert any(in_threads(6, act))
    assert blobs.path(BLOB.digest).read_bytes() == DATA


def test_partial_files_are_cleaned_by_age_and_those_in_use_are_not(
    blobs: FolderBlobs, tmp_path: Path
) -> None:
    _cut(blobs, "site-1", 10)
    _cut(blobs, "site-2", 10)
    old = next((tmp_path / "blobs" / "partial").glob("*.site-1"))
    os.utime(old, (0, 0))
    in_use = blobs.begin(BLOB, "site-1", 10)
    assert blobs.clean(3600) == 0
    in_use.close()
    os.utime(old, (0, 0))
    assert blobs.clean(3600) == 1
    assert blobs.offset(BLOB, "site-1") == 0
    assert blobs.offset(BLOB, "site-2") == 10


def test_a_transfer_that_the_disk_cannot_take_does_not_begin(
    blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cut(blobs, "site-1", 1000)
    free = shutil.disk_usage("/")._replace(free=len(DATA) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(BlobSpaceError, match=r"no space for 256000 more .* has 255999 bytes left"):
        blobs.begin(BLOB, "site-1", 0)
    _send(blobs, DATA, BLOB, "site-1", 1000)  # what is there already needs no more space


def test_a_full_disk_is_named_and_leaves_nothing_of_a_put(
    blobs: FolderBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(BlobSpaceError, match="no space for 256000 more bytes"):
        blobs.put([DATA])
    monkeypatch.undo()
    assert list((tmp_path / "blobs" / "partial").iterdir()) == []


def test_what_a_cut_left_is_not_read_again_but_by_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    pread = os.pread

    def noted(descriptor: int, count: int, at: int) -> bytes:
        read.append(count)
        return pread(descriptor, count, at)

    monkeypatch.setattr(os, "pread", noted)
    blobs = FolderBlobs(tmp_path, durability=Durability.PROCESS)
    for place in (70_000, 80_000):
        there = blobs.offset(BLOB, "site-1")
        upload = blobs.begin(BLOB, "site-1", there)
        upload.write(DATA[there:place])
        upload.close()
    assert not read
    restarted = FolderBlobs(tmp_path, durability=Durability.PROCESS)
    _send(restarted, DATA, BLOB, "site-1", 80_000)
    assert sum(read) == 80_000
    assert restarted.path(BLOB.digest).read_bytes() == DATA


# ---- what one owner may take --------------------------------------------------------------------


def _other(number: int) -> BlobRef:
    """A blob of 256000 bytes, each number another one."""
    return BlobRef(digest=f"{number:064x}", size=len(DATA))


def _cut_other(blobs: FolderBlobs, number: int, **options: int) -> None:
    upload = blobs.begin(_other(number), "site-1", 0, **options)
    upload.write(DATA[:100])
    upload.close()


def test_what_is_to_stay_free_is_promised_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = FolderBlobs(tmp_path, durability=Durability.PROCESS, keep_free_bytes=1000)
    free = shutil.disk_usage("/")._replace(free=len(DATA) + 999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(BlobSpaceError, match=r"no space for 256000 more .*, and 1000 stay free"):
        blobs.begin(BLOB, "site-1", 0)


def test_what_is_promised_to_one_transfer_is_not_there_for_another(
    blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage("/")._replace(free=2 * len(DATA) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    first = blobs.begin(_other(1), "site-1", 0)
    with pytest.raises(BlobSpaceError, match="256000 of which are for transfers under way"):
        blobs.begin(_other(2), "site-2", 0)
    first.close()
    blobs.begin(_other(2), "site-2", 0).close()


def test_an_owner_has_no_more_under_way_than_it_may(blobs: FolderBlobs) -> None:
    most = 2 * len(DATA)
    uploads = [blobs.begin(_other(number), "site-1", 0, most) for number in range(2)]
    with pytest.raises(BlobQuotaError, match="site-1 would have 768000 bytes under way, and it"):
        blobs.begin(_other(2), "site-1", 0, most)
    uploads.append(blobs.begin(_other(2), "site-2", 0, most))
    for upload in uploads:
        upload.close()


def test_the_oldest_cut_transfer_goes_where_there_is_no_more_room_for_the_next(
    blobs: FolderBlobs,
) -> None:
    for number in range(2):
        _cut_other(blobs, number)
    _cut_other(blobs, 2, most_bytes=len(DATA) + 100)
    assert [blobs.offset(_other(number), "site-1") for number in range(3)] == [0, 100, 100]


def test_of_too_many_cut_transfers_the_oldest_go_also_after_a_restart(
    blobs: FolderBlobs, tmp_path: Path
) -> None:
    folder = tmp_path / "blobs" / "partial"
    for number in range(MOST_PARTS + 3):
        _cut_other(blobs, number)
    assert len(list(folder.iterdir())) == MOST_PARTS
    for at, part in enumerate(sorted(folder.iterdir())):
        os.utime(part, (at, at))
    restarted = FolderBlobs(tmp_path / "blobs", durability=Durability.PROCESS)
    upload = restarted.begin(BLOB, "site-1", 0)
    assert len(list(folder.iterdir())) == MOST_PARTS
    assert restarted.offset(_other(3), "site-1") == 0
    assert restarted.offset(_other(4), "site-1") == 100
    upload.close()


def test_more_transfers_under_way_than_one_may_have_are_refused(blobs: FolderBlobs) -> None:
    uploads = [blobs.begin(_other(number), "site-1", 0) for number in range(MOST_PARTS)]
    with pytest.raises(BlobQuotaError, match=f"has {MOST_PARTS} transfers under way"):
        blobs.begin(BLOB, "site-1", 0)
    for upload in uploads:
        upload.close()


def test_a_disk_that_others_fill_meanwhile_ends_a_transfer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = FolderBlobs(tmp_path, keep_free_bytes=1000)
    block = bytes(8 << 20)
    upload = blobs.begin(blob_ref([block, block]), "site-1", 0)
    full = shutil.disk_usage("/")._replace(free=999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(BlobSpaceError, match="and 1000 stay free; make room on it"):
        upload.write(block)
    upload.close()
