"""A real tracking server, that is there, away and back."""

from __future__ import annotations

import io
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3
from matplotlib.image import imread
from mlflow import MlflowClient

from federant.link.messages import Event
from federant.server.tracking.mlflow import MLflowSink
from federant.server.tracking.settings import MLflowSettings

from .door import Door

PATIENCE_SECONDS = 240.0
LISTENS = re.compile(r"running on http://127\.0\.0\.1:(\d+)")


class TrackingServer:
    """``mlflow server`` on SQLite, at an address that stays the same when it is started again.

    It takes a free port itself, another one each time: the address is that of a door in front.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "mlflow.log"
        self._door = Door()
        self.url = self._door.url
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, until: Any) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", "0", "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        # Without its runners of jobs, which are five processes more and not asked for here.
        env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._folder, env=env
            )
        until("the tracking server", self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        said = self._log.read_text()
        assert self._process.poll() is None, said
        if (listens := LISTENS.search(said)) is None:
            return False
        self._door.port = int(listens.group(1))
        try:
            reply = urllib3.request("GET", f"{self.url}/health", timeout=5, retries=False)
        except urllib3.exceptions.HTTPError:
            return False
        return reply.status == 200

    def stop(self) -> None:
        if self._process is not None:
            self._door.port = None
            self._process.terminate()
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def close(self) -> None:
        self.stop()
        self._door.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    made = TrackingServer(tmp_path_factory.mktemp("mlflow"))
    yield made
    made.close()


@pytest.fixture
def tracking(made: TrackingServer, until: Any) -> TrackingServer:
    if made._process is None:
        made.start(until)
    return made


def run_of(client: MlflowClient, job_id: str, site: str) -> Any:
    experiment = client.get_experiment_by_name("federant")
    if experiment is None:
        return None
    wanted = f"tags.`federant.job` = '{job_id}' and tags.`federant.site` = '{site}'"
    runs = list(client.search_runs([experiment.experiment_id], wanted))
    assert len(runs) <= 1
    return runs[0] if runs else None


def history(client: MlflowClient, run: Any, name: str) -> list[tuple[int, float, int]]:
    found = client.get_metric_history(run.info.run_id, name)
    return sorted((each.step, each.value, each.timestamp) for each in found)


def artifacts(client: MlflowClient, run: Any, folder: Path, path: str) -> dict[str, str]:
    """What is in the run's text artifacts there, by their names."""
    found = Path(client.download_artifacts(run.info.run_id, path, str(folder)))
    files = sorted(found.iterdir()) if found.is_dir() else [found]
    return {file.name: file.read_text() for file in files}


def files_in(client: MlflowClient, run: Any, path: str) -> Iterator[str]:
    for found in client.list_artifacts(run.info.run_id, path):
        if found.is_dir:
            yield from files_in(client, run, found.path)
        else:
            yield found.path


@pytest.mark.timeout(900)
def test_each_sites_part_becomes_a_run_and_what_comes_twice_is_there_once(
    tracking: TrackingServer, stage: Any, tmp_path: Path, metric: Any
) -> None:
    job = stage.job()
    stage.store.add_events(job.id, "site-1", [metric(9, 1.0, "odd,tag/../?")])
    stage.log_everything(job)
    place = stage.feed(MLflowSink(MLflowSettings(tracking.url), stage.blobs), job)
    again = MLflowSink(MLflowSettings(tracking.url), stage.blobs)
    assert stage.feed(again, job) == place  # killed before its note was kept
    client = MlflowClient(tracking.url)
    run = run_of(client, job.id, "site-1")
    assert run.info.run_name == "digits/site-1"
    steps = history(client, run, "train/loss")
    assert [step for step, _, _ in steps] == [0, 1, 2, 3]
    assert [steps[0][1], steps[3][1]] == [0.5, 0.25]
    assert math.isnan(steps[1][1])
    assert steps[2][1] > 1e300  # MLflow's store has no infinity
    assert [time for _, _, time in steps] == [1_000_000, 1_001_000, 1_002_000, 1_003_000]
    assert history(client, run, "odd_tag/_") == [(9, 1.0, 1_009_000)]
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags["who"] == "x"
    for name, text in (("note", "hello"), ("empty", ""), ("long", stage.long_text)):
        assert list(artifacts(client, run, tmp_path, f"texts/{name}").values()) == [text]
    images = Path(client.download_artifacts(run.info.run_id, "images/sample", str(tmp_path)))
    (image,) = images.iterdir()
    shown = imread(io.BytesIO(image.read_bytes()), format="png")
    np.testing.assert_array_equal(np.round(shown * 255).astype(np.uint8), stage.pixels)
    for site, value in (("site-2", 7.0), ("server", 8.0)):
        other = run_of(client, job.id, site)
        assert history(client, other, "train/loss") == [(1, value, 1_001_000)]
    again.finish(job, place)
    assert run_of(client, job.id, "site-1").info.status == "FAILED"  # the job never ran


@pytest.mark.timeout(900)
def test_what_no_site_should_send_holds_nothing_up(tracking: TrackingServer, stage: Any) -> None:
    job = stage.job()
    stage.log_nonsense(job)
    stage.feed(MLflowSink(MLflowSettings(tracking.url), stage.blobs), job)
    client = MlflowClient(tracking.url)
    run = run_of(client, job.id, "site-1")  # which a site's own tag cannot give to another
    assert history(client, run, "after") == [(1, 1.0, 1_001_000)]
    assert [step for step, _, _ in history(client, run, "past")] == [1]
    (long,) = (name for name in run.data.metrics if name.startswith("mmm"))
    assert run.data.metrics[long] == 1e300
    names = [file.path for file in client.list_artifacts(run.info.run_id, "texts")]
    assert {"texts/nothing", "texts/postscript", "texts/huge"} < set(names)


def text(number: int, tag: str, step: int | None = None) -> Event:
    return Event(id=f"x{number}", kind="TEXT", tag=tag, text=f"text {number}", step=step, time=1.0)


@pytest.mark.timeout(900)
def test_texts_of_one_tag_are_files_of_their_own_also_where_they_have_one_step_or_none(
    tracking: TrackingServer, stage: Any, tmp_path: Path
) -> None:
    job = stage.job()
    steps = (7, 8, 8, None, None)
    stage.store.add_events(
        job.id, "site-1", [text(number, "note", step) for number, step in enumerate(steps)]
    )
    for _ in range(2):  # what comes twice is there once
        stage.feed(MLflowSink(MLflowSettings(tracking.url), stage.blobs), job)
    client = MlflowClient(tracking.url)
    files = artifacts(client, run_of(client, job.id, "site-1"), tmp_path, "texts/note")
    seqs = [event.seq for event in stage.store.events(job.id)]
    assert files == {
        f"000000007-{seqs[0]:09d}.txt": "text 0",
        f"000000008-{seqs[1]:09d}.txt": "text 1",
        f"000000008-{seqs[2]:09d}.txt": "text 2",
        f"{seqs[3]:09d}.txt": "text 3",
        f"{seqs[4]:09d}.txt": "text 4",
    }


@pytest.mark.timeout(900)
def test_images_of_one_tag_and_step_are_files_of_their_own(
    tracking: TrackingServer, stage: Any
) -> None:
    job = stage.job()
    for event_id in ("first", "second"):
        stage.log_image(job, event_id)
    stage.feed(MLflowSink(MLflowSettings(tracking.url), stage.blobs), job)
    client = MlflowClient(tracking.url)
    run = run_of(client, job.id, "site-1")
    assert len(client.list_artifacts(run.info.run_id, "images/sample")) == 2


@pytest.mark.timeout(900)
def test_a_text_whose_tag_names_a_file_is_that_file_and_the_older_ones_are_there_too(
    tracking: TrackingServer, stage: Any, tmp_path: Path
) -> None:
    job = stage.job()
    sink, place = MLflowSink(MLflowSettings(tracking.url), stage.blobs), None
    for number, tag in enumerate(("report.md", "report.md", "all/of.them/report.md")):
        stage.store.add_events(job.id, "site-1", [text(number, tag)])
        place = stage.feed(sink, job, place)
    client = MlflowClient(tracking.url)
    run = run_of(client, job.id, "site-1")
    assert artifacts(client, run, tmp_path, "report.md") == {"report.md": "text 1"}
    of_them = artifacts(client, run, tmp_path, "all/of_them")
    assert of_them == {"report.md": "text 2"}
    older = artifacts(client, run, tmp_path, "texts/report_md")
    assert sorted(older.values()) == ["text 0", "text 1"]
    assert all(name.endswith(".md") for name in older)


@pytest.mark.timeout(900)
def test_no_tag_makes_a_folder_where_another_has_a_file(
    tracking: TrackingServer, stage: Any, metric: Any
) -> None:
    job = stage.job()
    stage.store.add_events(job.id, "site-1", [text(0, "a.b"), text(1, "a")])
    newest = stage.store.events(job.id)[-1].seq
    tags = ["a.b/c.d", "a.b", "texts/a.b", "texts", "images", "texts/a", ".a", "...", "a/.b", "A.B"]
    tags += [f"a/{newest:09d}.txt", f"a/{newest:09d}.txt/x.y", f"texts/a/{newest:09d}.txt/x"]
    stage.store.add_events(
        job.id, "site-1", [text(number, tag) for number, tag in enumerate(tags, 2)]
    )
    stage.store.add_events(job.id, "site-1", [metric(1, 1.0, "after")])
    stage.feed(MLflowSink(MLflowSettings(tracking.url), stage.blobs), job)
    client = MlflowClient(tracking.url)
    run = run_of(client, job.id, "site-1")
    assert history(client, run, "after") == [(1, 1.0, 1_001_000)]
    assert len(list(files_in(client, run, "texts"))) >= 2 + len(tags)


@pytest.mark.timeout(900)
def test_a_second_value_of_a_parameter_holds_nothing_up(
    tracking: TrackingServer, stage: Any, metric: Any
) -> None:
    job = stage.job()
    sink = MLflowSink(MLflowSettings(tracking.url), stage.blobs)
    for number in (1, 2):
        event = metric(number, 1.0, "lr").model_copy(
            update={"kind": "PARAMETER", "value": None, "text": str(number)}
        )
        stage.store.add_events(job.id, "site-1", [event, metric(number, float(number))])
    stage.feed(sink, job)
    client = MlflowClient(tracking.url)
    run = run_of(client, job.id, "site-1")
    assert run.data.params == {"lr": "1"}
    assert [step for step, _, _ in history(client, run, "train/loss")] == [1, 2]


@pytest.mark.timeout(900)
def test_a_tracking_server_that_is_away_stops_nothing_and_catches_up(
    tracking: TrackingServer, server: Any, metric: Any, until: Any
) -> None:
    server.config.write_text(
        f'[sinks.mlflow]\ntracking_uri = "{tracking.url}"\n[sinks.tensorboard]\nfolder = "runs"\n'
    )
    server.start()
    both, one = server.submit("mlflow", "tensorboard"), server.submit("tensorboard")
    server.log(both, metric(1, 1.0))
    client = MlflowClient(tracking.url)
    until("the run", lambda: run_of(client, both.id, "site-1"))
    tracking.stop()
    server.log(both, metric(2, 2.0))
    server.log(one, metric(1, 5.0))
    for job in (both, one):  # the other sink does not wait for this one
        until("the event file", lambda job=job: _behind(job, "tensorboard") == 0)
    until("the error", lambda: _error(both))
    server.kill()
    server.start()
    both = server.operator.job(both.id)
    server.log(both, metric(3, 3.0))
    tracking.start(until)
    until("the rest", lambda: _behind(both, "mlflow") == 0)
    run = run_of(client, both.id, "site-1")
    assert [step for step, _, _ in history(client, run, "train/loss")] == [1, 2, 3]
    assert run_of(client, one.id, "site-1") is None


def _behind(job: Any, sink: str) -> int:
    return next(each.behind for each in job.metrics().sinks if each.sink == sink)


def _error(job: Any) -> str:
    return next(each.error for each in job.metrics().sinks if each.sink == "mlflow")
