"""Which blobs go once nothing needs them, and that a kill in the middle of it costs nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from federant.link import BlobRef, LinkClient
from federant.link.messages import Event, EventKind, JobSpec, JobState
from federant.server.blobs import FolderBlobs, SiteSpace
from federant.server.retention import IDLE_SECONDS, Retention
from federant.server.state import JobRow, NewTask, Store, task_id

Put = Callable[[bytes], BlobRef]


@pytest.fixture
def put(blobs: FolderBlobs) -> Put:
    """A blob that nobody has put or asked for since two days."""

    def make(data: bytes) -> BlobRef:
        blob = blobs.put([data])
        long_ago = time.time() - 2 * IDLE_SECONDS
        os.utime(blobs.path(blob.digest), (long_ago, long_ago))
        return blob

    return make


@pytest.fixture
def retention(store: Store, blobs: FolderBlobs) -> Retention:
    return Retention(store, blobs)


def job_with_result(store: Store, put: Put, name: str) -> tuple[JobRow, list[BlobRef]]:
    """A job that goes on, with an initial model, a task and a result of site-1."""
    initial, body, result = (put(f"{name} {what}".encode()) for what in ("initial", "task", "r"))
    spec = JobSpec(name=name, trainer="t", sites=("site-1",), initial_model=initial)
    job = store.create_job(spec)
    store.set_job_state(job.id, JobState.RUNNING)
    task = NewTask(task_id(job.id, 0, "site-1"), "site-1", "train", blob=body)
    store.begin_step(job.id, 0, "broadcast", {}, [task])
    leased = store.next_task(job.id, "site-1", "cj", (), 60).task
    assert leased is not None
    store.put_blob("site-1", result)
    store.commit_result(leased.id, "site-1", leased.attempt, "OK", {}, result)
    return job, [initial, body, result]


def there(blobs: FolderBlobs, some: list[BlobRef]) -> list[bool]:
    return [blobs.size(blob.digest) is not None for blob in some]


def test_what_a_job_that_has_ended_sent_and_got_goes(
    store: Store, blobs: FolderBlobs, put: Put, retention: Retention
) -> None:
    job, its = job_with_result(store, put, "ended")
    store.set_job_state(job.id, JobState.FINISHED)
    assert retention.sweep() == 3
    assert there(blobs, its) == [False] * 3
    assert not store.has_blob("site-1", its[2].digest)


def test_all_that_a_job_which_goes_on_refers_to_stays(
    store: Store, blobs: FolderBlobs, put: Put, retention: Retention
) -> None:
    _, its = job_with_result(store, put, "running")
    assert retention.sweep() == 0
    assert there(blobs, its) == [True] * 3


def test_models_and_what_events_refer_to_stay_after_the_end(
    store: Store, blobs: FolderBlobs, put: Put, retention: Retention
) -> None:
    job, _ = job_with_result(store, put, "ended")
    model, image = put(b"model"), put(b"image")
    store.save_model(job.id, 0, model)
    shown = Event(id="1", kind=EventKind.IMAGE, tag="x", text="", time=1.0, blob=image)
    store.add_events(job.id, "site-1", [shown])
    store.set_job_state(job.id, JobState.STOPPED)
    assert retention.sweep() == 3
    assert there(blobs, [model, image]) == [True, True]


def test_a_blob_of_two_jobs_goes_with_the_second(
    store: Store, blobs: FolderBlobs, put: Put, retention: Retention
) -> None:
    first, second = (
        store.create_job(JobSpec(name="n", trainer="t", initial_model=put(b"m"))) for _ in range(2)
    )
    store.set_job_state(first.id, JobState.FINISHED)
    assert retention.sweep() == 0
    store.set_job_state(second.id, JobState.FAILED)
    assert retention.sweep() == 1


def test_a_blob_that_was_just_put_or_asked_for_stays(
    blobs: FolderBlobs, put: Put, retention: Retention
) -> None:
    fresh = blobs.put([b"fresh"])
    asked = put(b"asked")
    assert blobs.size(asked.digest) == 5
    again = put(b"again")
    blobs.put([b"again"])
    assert retention.sweep() == 0
    assert there(blobs, [fresh, asked, again]) == [True] * 3


def test_a_file_that_is_no_blob_is_left_alone(
    blobs: FolderBlobs, put: Put, retention: Retention
) -> None:
    foreign = blobs.path(put(b"any").digest).with_name("README")
    foreign.touch()
    os.utime(foreign, (1.0, 1.0))
    assert retention.sweep() == 1
    assert foreign.exists()


def test_a_site_has_its_space_back_when_what_it_sent_is_removed(
    store: Store, put: Put, retention: Retention
) -> None:
    space = SiteSpace(store, 100)
    store.put_blob("site-1", put(b"nobody's"))
    assert space.left("site-1") == 100 - len(b"nobody's")
    assert retention.sweep() == 1
    assert space.left("site-1") == 100


def rounds_kept(store: Store, job: JobRow) -> list[int]:
    return [model.round for model in store.models(job.id)]


def test_of_a_job_that_has_ended_the_newest_models_and_the_best_by_any_score_are_kept(
    store: Store, blobs: FolderBlobs, put: Put
) -> None:
    accuracies = [0.1, 0.9, 0.3, 0.0, 0.5, 0.6, 0.4, 0.55]
    # What a round says of the model that it began with is of the round before.
    starts = [9.0, 9.0, 3.0, 2.0, 1.0, 2.0, 3.0, 4.0]
    job, _ = job_with_result(store, put, "job")
    saved = [put(f"model {number}".encode()) for number in range(8)]
    for number, (accuracy, loss) in enumerate(zip(accuracies, starts, strict=True)):
        metrics = {"accuracy": accuracy, "note": "x", "initial_metrics": {"loss": loss}}
        store.save_model(job.id, number, saved[number], metrics)
    retention = Retention(store, blobs, most_models=2)
    retention.sweep()
    assert rounds_kept(store, job) == list(range(8))  # it goes on

    store.set_job_state(job.id, JobState.FINISHED)
    Retention(store, blobs).sweep()
    assert rounds_kept(store, job) == list(range(8))  # all, if nobody said otherwise
    retention.sweep()
    greatest, least, greatest_loss, least_loss = 1, 3, 0, 3
    best = {greatest, least, greatest_loss, least_loss}
    assert rounds_kept(store, job) == sorted(best | {6, 7})
    kept = rounds_kept(store, job)
    assert there(blobs, saved) == [number in kept for number in range(8)]
    retention.sweep()
    assert rounds_kept(store, job) == kept


def test_of_models_without_scores_the_newest_are_kept(
    store: Store, blobs: FolderBlobs, put: Put
) -> None:
    job, _ = job_with_result(store, put, "job")
    for number in range(5):
        figures = {"sites": number, "always": 2.0, "what": float("nan")}
        store.save_model(job.id, number, put(f"model {number}".encode()), figures)
    store.set_job_state(job.id, JobState.STOPPED)
    Retention(store, blobs, most_models=2).sweep()
    assert rounds_kept(store, job) == [3, 4]


KILLED = """
import os, signal, sys
from pathlib import Path
from federant.server.blobs import FolderBlobs
from federant.server.retention import Retention
from federant.server.state import Store

class Fatal(FolderBlobs):
    def remove(self, digest, idle_seconds):
        if sys.argv[2] == "after":
            super().remove(digest, idle_seconds)
        os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
Retention(Store.in_file(folder / "state.db"), Fatal(folder / "blobs")).sweep()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_server_killed_while_it_removes_blobs_loses_nothing_that_is_needed(
    store: Store,
    blobs: FolderBlobs,
    put: Put,
    tmp_path: Path,
    link: Callable[[str], LinkClient],
    moment: str,
) -> None:
    _, needed = job_with_result(store, put, "running")
    ended, its = job_with_result(store, put, "ended")
    store.set_job_state(ended.id, JobState.FINISHED)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], check=False)
    assert done.returncode == -signal.SIGKILL

    swept = Retention(store, blobs).sweep()
    assert swept == (2 if moment == "after" else 3)
    assert there(blobs, needed) == [True] * 3
    assert there(blobs, its) == [False] * 3
    # A site that needs one of them again, for another job, sends it.
    link("site-1").put_blob(its[2], lambda offset: [b"ended r"[offset:]])
    assert blobs.path(its[2].digest).read_bytes() == b"ended r"
    assert store.has_blob("site-1", its[2].digest)
