"""Event files, read back by tensorboard itself."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from federant.server.state import JobRow
from federant.server.tracking.settings import TensorBoardSettings
from federant.server.tracking.tensorboard import TensorBoardSink


@pytest.fixture
def sink(tmp_path: Path, stage: Any) -> TensorBoardSink:
    return TensorBoardSink(TensorBoardSettings(tmp_path / "runs"), stage.blobs)


def read(tmp_path: Path, job: JobRow, site: str) -> EventAccumulator:
    return EventAccumulator(str(tmp_path / "runs" / job.id / site)).Reload()


def scalars(tmp_path: Path, job: JobRow, site: str, tag: str) -> list[tuple[int, str]]:
    found = read(tmp_path, job, site).Scalars(tag)
    return [(event.step, repr(event.value)) for event in found]


def text(accumulator: EventAccumulator, tag: str) -> str:
    (event,) = accumulator.Tensors(f"{tag}/text_summary")
    return event.tensor_proto.string_val[0].decode()


def test_tensorboard_reads_every_kind_of_event(
    tmp_path: Path, stage: Any, sink: TensorBoardSink
) -> None:
    job = stage.job()
    stage.log_everything(job)
    stage.feed(sink, job)
    loss = [(0, "0.5"), (1, "nan"), (2, "inf"), (3, "0.25")]
    assert scalars(tmp_path, job, "site-1", "train/loss") == loss
    assert scalars(tmp_path, job, "site-2", "train/loss") == [(1, "7.0")]
    assert scalars(tmp_path, job, "server", "train/loss") == [(1, "8.0")]
    found = read(tmp_path, job, "site-1")
    assert [event.wall_time for event in found.Scalars("train/loss")] == [1000, 1001, 1002, 1003]
    assert text(found, "note") == "hello"
    assert text(found, "empty") == ""
    assert text(found, "long") == stage.long_text
    assert text(found, "parameter/lr") == "0.1"
    assert text(found, "tag/who") == "x"
    (image,) = found.Images("sample")
    assert (image.step, image.width, image.height) == (2, 5, 4)
    shown = imread(io.BytesIO(image.encoded_image_string), format="png")
    np.testing.assert_array_equal(np.round(shown * 255).astype(np.uint8), stage.pixels)


def test_what_is_written_again_after_a_kill_is_there_once(
    tmp_path: Path, stage: Any, sink: TensorBoardSink, metric: Any
) -> None:
    job = stage.job()
    stage.store.add_events(job.id, "site-1", [metric(1, 1.0)])
    place = stage.feed(sink, job)
    (first,) = stage.store.events(job.id)
    stage.store.add_events(job.id, "site-1", [metric(2, 2.0)])
    later = stage.store.events(job.id, after=first.seq)
    sink.write(job, later, place)  # and killed before its note was kept
    fresh = TensorBoardSink(TensorBoardSettings(tmp_path / "runs"), stage.blobs)
    fresh.write(job, later, place)
    assert scalars(tmp_path, job, "site-1", "train/loss") == [(1, "1.0"), (2, "2.0")]


def test_what_no_site_should_send_holds_nothing_up(
    tmp_path: Path, stage: Any, sink: TensorBoardSink
) -> None:
    job = stage.job()
    stage.log_nonsense(job)
    stage.feed(sink, job)
    assert scalars(tmp_path, job, "site-1", "after") == [(1, "1.0")]
    found = read(tmp_path, job, "site-1")
    for tag in ("postscript", "nothing", "huge"):  # what the site says of an image is all there is
        assert text(found, f"image/{tag}") == "an image"


def test_a_file_that_somebody_has_removed_begins_anew(
    tmp_path: Path, stage: Any, sink: TensorBoardSink, metric: Any
) -> None:
    job = stage.job()
    stage.store.add_events(job.id, "site-1", [metric(1, 1.0)])
    place = stage.feed(sink, job)
    for file in (tmp_path / "runs").rglob("events.*"):
        file.unlink()
    stage.feed(sink, job, place)
    assert scalars(tmp_path, job, "site-1", "train/loss") == [(1, "1.0")]


def test_events_without_a_step_keep_their_order(
    tmp_path: Path, stage: Any, sink: TensorBoardSink, metric: Any
) -> None:
    job = stage.job()
    events = [metric(n, float(n)).model_copy(update={"step": None}) for n in (3, 1, 2)]
    stage.store.add_events(job.id, "site-1", events)
    stage.feed(sink, job)
    found = read(tmp_path, job, "site-1").Scalars("train/loss")
    assert [event.value for event in sorted(found, key=lambda event: event.step)] == [3, 1, 2]


@pytest.mark.timeout(900)
def test_a_server_that_is_killed_goes_on_with_its_files(
    server: Any, metric: Any, until: Any
) -> None:
    server.start()
    job = server.submit("tensorboard")
    other = server.submit()
    server.log(job, metric(1, 1.0))
    server.log(other, metric(1, 5.0))
    folder = server.folder / "server" / "tensorboard"

    def steps() -> list[int]:
        if not (folder / job.id / "site-1").exists():
            return []
        found = EventAccumulator(str(folder / job.id / "site-1")).Reload()
        return [event.step for event in found.Scalars("train/loss")] if found.Tags() else []

    until("the first event", lambda: steps() == [1])
    server.kill()
    server.start()
    job = server.operator.job(job.id)
    server.log(job, metric(1, 1.0), metric(2, 2.0))  # the first is known already
    until("the second event", lambda: steps() == [1, 2])
    until("the note", lambda: job.metrics().sinks[0].behind == 0)
    assert [entry.name for entry in folder.iterdir()] == [job.id]
