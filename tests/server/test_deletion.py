"""What goes with a job that is deleted and what stays, also when a kill comes in the middle."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from federant.link import BlobRef
from federant.link.messages import Event, EventKind, JobSpec, JobState, SinkName
from federant.server.blobs import FolderBlobs, SiteSpace
from federant.server.retention import Freed, Retention
from federant.server.state import (
    ConflictError,
    JobRow,
    NewTask,
    SinkCursor,
    Store,
    UnknownRowError,
    task_id,
)

Put = Callable[[bytes], BlobRef]

AN_HOUR = 3600.0


@pytest.fixture
def put(blobs: FolderBlobs) -> Put:
    """A blob that nobody has put or asked for since an hour."""

    def make(data: bytes) -> BlobRef:
        blob = blobs.put([data])
        before = time.time() - AN_HOUR
        os.utime(blobs.path(blob.digest), (before, before))
        return blob

    return make


@pytest.fixture
def retention(store: Store, blobs: FolderBlobs) -> Retention:
    return Retention(store, blobs)


def finished_job(store: Store, put: Put, name: str) -> tuple[JobRow, list[BlobRef]]:
    """One that has all that a job can have: a row in every table, and five blobs of its own."""
    its = [put(f"{what} of {name}".encode()) for what in ("start", "task", "result", "model")]
    initial, body, result, model = its
    spec = JobSpec(
        name=name,
        trainer="t",
        sites=("site-1",),
        initial_model=initial,
        sinks=(SinkName.TENSORBOARD,),
    )
    job = store.create_job(spec, name)
    store.set_job_state(job.id, JobState.RUNNING)
    task = NewTask(task_id(job.id, 0, "site-1"), "site-1", "train", blob=body)
    store.begin_step(job.id, 0, "broadcast", {}, [task])
    leased = store.next_task(job.id, "site-1", "cj", (), 60).task
    assert leased is not None
    store.put_blob("site-1", result)
    store.commit_result(leased.id, "site-1", leased.attempt, "OK", {}, result)
    store.save_model(job.id, 0, model)
    image = put(f"image of {name}".encode())
    store.put_blob("site-1", image)
    shown = Event(id="i", kind=EventKind.IMAGE, tag="x", blob=image)
    logged = [Event(id=f"{n}", kind=EventKind.METRIC, tag="loss", value=1.0) for n in range(3)]
    store.add_events(job.id, "site-1", [shown, *logged])
    return store.set_job_state(job.id, JobState.FINISHED), [*its, image]


def files(blobs: FolderBlobs, some: list[BlobRef]) -> list[bool]:
    return [blobs.size(blob.digest) is not None for blob in some]


def rows_of(folder: Path, job_id: str) -> dict[str, int]:
    """By table, how many rows the job has."""
    with closing(sqlite3.connect(folder / "state.db")) as database:
        found = {}
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            if "job_id" in columns:
                count = f"SELECT count(*) FROM {table} WHERE job_id = ?"  # noqa: S608 - our names
                found[table] = database.execute(count, (job_id,)).fetchone()[0]
    assert len(found) > 5
    return found


def test_a_job_goes_with_its_rows_and_blobs_and_no_other_does(
    store: Store, blobs: FolderBlobs, put: Put, retention: Retention, tmp_path: Path
) -> None:
    _, its = finished_job(store, put, "first")
    other, others = finished_job(store, put, "second")
    assert all(rows_of(tmp_path, "first").values())
    before = rows_of(tmp_path, "second")

    freed = retention.delete_job("first")
    assert freed == Freed(1, 4, sum(blob.size for blob in its), 0)
    assert not any(rows_of(tmp_path, "first").values())
    assert files(blobs, its) == [False] * 5
    assert store.jobs() == [other]
    assert rows_of(tmp_path, "second") == before
    assert files(blobs, others) == [True] * 5


def test_a_job_that_was_deleted_is_not_there_and_its_id_stays_taken(
    store: Store, put: Put, retention: Retention
) -> None:
    job, _ = finished_job(store, put, "gone")
    retention.delete_job(job.id)
    for look in (store.job, retention.delete_job, store.request_stop):
        with pytest.raises(UnknownRowError, match=r"job gone was deleted on .* UTC; list the jobs"):
            look(job.id)
    with pytest.raises(ConflictError, match=r"was deleted .*; submit under another id"):
        store.create_job(job.spec, job.id)


@pytest.mark.parametrize("asked_to_stop", [False, True])
def test_a_job_that_has_not_ended_is_left_whole_and_the_refusal_says_what_to_do(
    store: Store,
    retention: Retention,
    submit: Callable[..., JobRow],
    tmp_path: Path,
    asked_to_stop: bool,
) -> None:
    job = submit(store, "site-1")
    if asked_to_stop:
        store.request_stop(job.id)
    before = rows_of(tmp_path, job.id)
    advice = "federant job follow" if asked_to_stop else "federant job stop"
    with pytest.raises(ConflictError, match=f"{advice} {job.id}"):
        retention.delete_job(job.id)
    assert rows_of(tmp_path, job.id) == before


def test_a_blob_that_another_job_needs_stays(
    store: Store, blobs: FolderBlobs, put: Put, retention: Retention
) -> None:
    _, its = finished_job(store, put, "first")
    model, start = its[3], its[0]
    other, _ = finished_job(store, put, "second")
    store.save_model(other.id, 1, model)
    store.create_job(JobSpec(name="runs", trainer="t", initial_model=start))
    retention.delete_job("first")
    assert files(blobs, its) == [True, False, False, True, False]


def test_a_blob_that_somebody_has_just_asked_for_goes_later(
    store: Store, blobs: FolderBlobs, put: Put, retention: Retention
) -> None:
    _, its = finished_job(store, put, "first")
    assert blobs.size(its[3].digest) == its[3].size
    freed = retention.delete_job("first")
    assert (freed.bytes, freed.bytes_later) == (sum(b.size for b in its) - its[3].size, its[3].size)
    assert files(blobs, its) == [False, False, False, True, False]
    long_ago = time.time() - 48 * AN_HOUR
    os.utime(blobs.path(its[3].digest), (long_ago, long_ago))
    assert retention.sweep() == 1


def test_a_site_has_its_space_back_when_a_job_is_deleted(
    store: Store, put: Put, retention: Retention
) -> None:
    space = SiteSpace(store, 100)
    finished_job(store, put, "first")
    assert space.left("site-1") == 100 - len(b"image of first")
    retention.delete_job("first")
    assert space.left("site-1") == 100


def test_what_comes_late_of_a_job_that_was_deleted_leaves_no_row(
    store: Store, put: Put, retention: Retention, tmp_path: Path
) -> None:
    job, _ = finished_job(store, put, "first")
    retention.delete_job(job.id)
    event = Event(id="late", kind=EventKind.METRIC, tag="loss", value=1.0)
    assert store.add_events(job.id, "site-1", [event]) == 0
    store.save_sink_cursor(SinkCursor(job.id, SinkName.TENSORBOARD, seq=4))
    assert not any(rows_of(tmp_path, job.id).values())
    assert store.jobs_for_site("site-1", also=[job.id]) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from federant.server.blobs import FolderBlobs
from federant.server.retention import Retention
from federant.server.state import Store, store

moment = sys.argv[2]
store._PURGED_AT_ONCE = 2

def die_if(at):
    if at == moment:
        os.kill(os.getpid(), signal.SIGKILL)

class FatalStore(Store):
    def delete_job(self, job_id):
        die_if("first of all")
        deleted = super().delete_job(job_id)
        die_if("once it is hidden")
        return deleted
    def purge_some(self, job_id):
        more = super().purge_some(job_id)
        die_if("among its rows")
        return more
    def forget_unneeded_blobs(self, digests):
        die_if("before its blobs")
        return super().forget_unneeded_blobs(digests)

class FatalBlobs(FolderBlobs):
    def remove(self, digest, idle_seconds):
        done = super().remove(digest, idle_seconds)
        die_if("among its blobs")
        return done

folder = Path(sys.argv[1])
Retention(FatalStore.in_file(folder / "state.db"), FatalBlobs(folder / "blobs")).delete_job("first")
"""


@pytest.mark.parametrize(
    "moment",
    [
        *("first of all", "once it is hidden", "among its rows"),
        *("before its blobs", "among its blobs"),
    ],
)
def test_a_server_killed_while_it_deletes_a_job_has_all_or_nothing_of_it_when_it_is_started_again(
    store: Store, blobs: FolderBlobs, put: Put, tmp_path: Path, moment: str
) -> None:
    job, its = finished_job(store, put, "first")
    _, others = finished_job(store, put, "second")
    whole, other = rows_of(tmp_path, "first"), rows_of(tmp_path, "second")
    command = [sys.executable, "-c", KILLED, str(tmp_path), moment]
    done = subprocess.run(command, check=False)
    assert done.returncode == -signal.SIGKILL

    seen = [row.id for row in store.jobs()]
    # What no job needs any more goes once nobody has asked for it in a day.
    Retention(store, blobs, idle_seconds=60.0).sweep()
    if moment == "first of all":
        assert seen == ["first", "second"]
        assert rows_of(tmp_path, job.id) == whole
        assert store.models(job.id)[0].blob == its[3]
        assert blobs.size(its[3].digest) == its[3].size
    else:
        assert seen == ["second"]
        assert not any(rows_of(tmp_path, job.id).values())
        assert files(blobs, its) == [False] * 5
        assert not store.has_blob("site-1", its[2].digest)
    assert rows_of(tmp_path, "second") == other
    assert files(blobs, [others[3], others[4]]) == [True, True]
