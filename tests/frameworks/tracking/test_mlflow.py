"""A real tracking server, that is there, away and back."""

from __future__ import annotations

import contextlib
import io
import math
import os
import random
import socket
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

from federant.server.tracking.mlflow import MLflowSink
from federant.server.tracking.settings import MLflowSettings

PATIENCE_SECONDS = 240.0


def free_port() -> int:
    """One that the kernel gives to no outgoing connection while its server is away."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port


class TrackingServer:
    """``mlflow server`` on SQLite, at an address that stays the same when it is started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, until: Any) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        # Without its runners of jobs, which are five processes more and not asked for here.
        env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._folder, env=env
            )
        until("the tracking server", self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "mlflow.log").read_text()
        try:
            reply = urllib3.request("GET", f"{self.url}/health", timeout=5, retries=False)
        except urllib3.exceptions.HTTPError:
            return False
        return reply.status == 200

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_SECONDS)
            self._process = None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    made = TrackingServer(tmp_path_factory.mktemp("mlflow"))
    yield made
    made.stop()


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
    for name, text in (("note.txt", "hello"), ("empty.txt", ""), ("long.txt", stage.long_text)):
        file = Path(client.download_artifacts(run.info.run_id, name, str(tmp_path)))
        assert file.read_text() == text
    file = Path(client.download_artifacts(run.info.run_id, "images/sample", str(tmp_path)))
    (image,) = file.iterdir()
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
    names = [file.path for file in client.list_artifacts(run.info.run_id)]
    assert {"images", "nothing.txt", "postscript.txt", "huge.txt"} < set(names)


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
