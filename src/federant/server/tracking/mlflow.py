"""MLflow: a run for each site's part in a job, at the tracking server that the operator names.

Events that come a second time change nothing: a run is found again by its tags, and MLflow keeps a
metric of the same value, step and time once, as it does parameters, tags and artifacts.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.environment_variables import (
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)
from mlflow.exceptions import MlflowException

from federant.link.messages import EventKind, JobState
from federant.server.blobs import BlobStore
from federant.server.state import EventRow, JobRow

from .base import Place, Sink, by_site, shortened, whole_text, words_of
from .images import png_in
from .settings import MLflowSettings

_log = logging.getLogger(__name__)

_OURS: Final = "federant."
"""What our tags begin with: by them a run is found again, so that no site may set them."""
_JOB_TAG: Final = f"{_OURS}job"
_SITE_TAG: Final = f"{_OURS}site"
_NOT_IN_NAMES: Final = re.compile(r"[^\w\-. /:]")
_SUFFIX: Final = re.compile(r"(?<=[^/])\.[A-Za-z0-9]{1,10}$")
"""What a tag ends in that is the name of a file."""
_PATH_BYTES: Final = 200
"""Fewer than MLflow allows in a name, and a file system in a file's."""
_LAST_SECOND: Final = 253_402_300_799.0
"""Of the year 9999; a site may tell of any time."""
_PARAM_CHARS: Final = 6000
_TAG_CHARS: Final = 5000
_AT_ONCE: Final = 500
"""Fewer than MLflow takes in one call."""
_REQUEST_SECONDS: Final = 20
_REQUEST_RETRIES: Final = 1
"""The feeder tries again, for as long as it takes."""


class MLflowSink(Sink):
    """Metrics, parameters and tags of a run; texts and images are its artifacts.

    Each text is a file of its own under ``texts/<tag>/``, each image one under ``images/<tag>/``,
    called after its step and the event's number. Where a tag is the name of a file, such as
    ``report.md``, its newest text also goes there. What MLflow refuses for itself, a second value
    of a parameter say, is left out and the log says so.
    """

    def __init__(self, settings: MLflowSettings, blobs: BlobStore) -> None:
        for variable, value in (
            (MLFLOW_HTTP_REQUEST_MAX_RETRIES, _REQUEST_RETRIES),
            (MLFLOW_HTTP_REQUEST_TIMEOUT, _REQUEST_SECONDS),
        ):
            if not variable.is_set():
                variable.set(value)
        self._client = MlflowClient(settings.tracking_uri)
        self._experiment = settings.experiment
        self._blobs = blobs

    def write(self, job: JobRow, events: Sequence[EventRow], place: Place) -> Place:
        runs: dict[str, str] = dict(place)
        for site, told in by_site(events).items():
            if site not in runs:
                runs[site] = self._find_run(job, site)
            self._write(runs[site], told)
        return runs

    def finish(self, job: JobRow, place: Place) -> None:
        status = "FINISHED" if job.state is JobState.FINISHED else "FAILED"
        for run in place.values():
            self._client.set_terminated(run, status)

    def _find_run(self, job: JobRow, site: str) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            experiment = self._client.create_experiment(self._experiment)
        else:
            experiment = found.experiment_id
        wanted = f"tags.`{_JOB_TAG}` = '{job.id}' and tags.`{_SITE_TAG}` = '{site}'"
        for run in self._client.search_runs([experiment], wanted, max_results=1):
            return str(run.info.run_id)
        made = self._client.create_run(
            experiment,
            start_time=int(job.created * 1000),
            tags={_JOB_TAG: job.id, _SITE_TAG: site},
            run_name=f"{job.spec.name}/{site}",
        )
        return str(made.info.run_id)

    def _write(self, run: str, events: Sequence[EventRow]) -> None:
        metrics, params, tags = [], [], []
        for event in events:
            name = _path(event.tag)
            if event.value is not None:
                metrics.append(Metric(name, event.value, _millis(event.time), event.step or 0))
            elif event.kind == EventKind.PARAMETER:
                params.append(Param(name, event.text[:_PARAM_CHARS]))
            elif event.kind == EventKind.TAG:
                own = f"_{name}" if name.startswith(_OURS) else name
                tags.append(RunTag(own, event.text[:_TAG_CHARS]))
        for start in range(0, len(metrics), _AT_ONCE):
            self._log(run, metrics=metrics[start : start + _AT_ONCE])
        for param in params:
            self._log(run, params=[param])
        for tag in tags:
            self._log(run, tags=[tag])
        self._log_artifacts(run, events)

    def _log(
        self,
        run: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        try:
            self._client.log_batch(run, metrics, params, tags)
        except MlflowException as error:
            if not _is_refusal(error):
                raise
            if len(metrics) > 1:  # the others shall not suffer for one of them
                for metric in metrics:
                    self._log(run, metrics=[metric])
                return
            _log.warning("mlflow refuses run=%s error=%s", run, words_of(error))

    def _log_artifacts(self, run: str, events: Iterable[EventRow]) -> None:
        newest: dict[str, str] = {}
        for event in events:
            if (image := png_in(self._blobs, event)) is not None:
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / _file_name(event, ".png")
                    file.write_bytes(image.file)
                    self._client.log_artifact(run, str(file), f"images/{_folder(event.tag)}")
            elif event.value is None and event.kind not in (EventKind.PARAMETER, EventKind.TAG):
                suffix = _SUFFIX.search(_path(event.tag))
                file_name = _file_name(event, suffix.group() if suffix else ".txt")
                text = whole_text(self._blobs, event)
                self._client.log_text(run, text, f"texts/{_folder(event.tag)}/{file_name}")
                if suffix:
                    above, _, name = _path(event.tag).rpartition("/")
                    newest[f"{_folder(above)}/{name}" if above else name] = text
        for name, text in newest.items():
            self._client.log_text(run, text, name)


def _is_refusal(error: MlflowException) -> bool:
    """Whether the tracking server has read the call, and will not do it however often it comes."""
    return error.get_http_status_code() in (400, 409, 413, 422)


def _millis(seconds: float) -> int:
    return int(min(max(seconds, 0.0), _LAST_SECOND) * 1000)


def _path(tag: str) -> str:
    """A tag as MLflow's names and files may be called: it cannot lead out of a run's artifacts."""
    parts = [part.strip() for part in _NOT_IN_NAMES.sub("_", tag).split("/")]
    path = "/".join(part for part in parts if part.strip(".")) or "unnamed"
    return shortened(path, _PATH_BYTES)


def _folder(tag: str) -> str:
    """The folder of a tag's files: it has no dot, and they have one, so that no tag's folder stands
    where another's file should."""
    return _path(tag).replace(".", "_")


def _file_name(event: EventRow, suffix: str) -> str:
    """One that no other event has, the same each time: by step where there is one, then by age."""
    step = "" if event.step is None else f"{event.step:09d}-"
    return f"{step}{event.seq:09d}{suffix}"
