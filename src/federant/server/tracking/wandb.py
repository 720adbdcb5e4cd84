"""Weights & Biases: a run for each site's part in a job, offline in a folder or online.

A server that is killed between a write and its note gives the last events again: then a run has
them twice, told apart by ``federant/event``, the event's number in the job.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

import psutil
import wandb

from federant.link.messages import EventKind
from federant.server.blobs import BlobStore
from federant.server.state import EventRow, JobRow

from .base import Place, Sink, by_site, shortened, whole_text
from .images import Png, png_in
from .settings import WandbSettings

_log = logging.getLogger(__name__)

_STEP: Final = "step"
_EVENT: Final = "federant/event"
_ROW_BYTES: Final = 32 << 20
"""About what a row may have of texts and pixels before it is logged; what is over goes into another
row of the same step."""
_CORE: Final = "wandb-core"
"""The process that wandb starts, which writes and sends."""
_EXIT_SECONDS: Final = 15.0
"""How long it may go on once the server stops."""
_FILE_BYTES: Final = 150
"""wandb makes a file's name of an image's tag, and lengthens it."""


class WandbSink(Sink):
    """What was logged at one step is a row of the run's history, with ``step`` as its x axis.

    Parameters go into the run's config, tags into its summary.
    """

    def __init__(self, settings: WandbSettings, blobs: BlobStore) -> None:
        self._settings = settings
        self._blobs = blobs
        self._runs: dict[tuple[str, str], Any] = {}

    def write(self, job: JobRow, events: Sequence[EventRow], place: Place) -> Place:
        for site, told in by_site(events).items():
            run = self._run(job, site)
            for step, group in groupby(told, key=lambda event: event.step):
                self._log(run, step, list(group))
        return place

    def finish(self, job: JobRow, _place: Place) -> None:
        for key in [key for key in self._runs if key[0] == job.id]:
            self._runs.pop(key).finish()

    def end_soon(self) -> None:
        # When the process ends, wandb waits for its own until that has sent all: for ever, where
        # nobody answers. A thread cannot be started so late any more.
        timer = threading.Timer(_EXIT_SECONDS, _end_core)
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        while self._runs:
            self._runs.popitem()[1].finish()

    def _run(self, job: JobRow, site: str) -> Any:
        key = job.id, site
        if key not in self._runs:
            self._settings.folder.mkdir(parents=True, exist_ok=True)
            run = wandb.init(
                project=self._settings.project,
                entity=self._settings.entity or None,
                dir=str(self._settings.folder),
                id=f"{job.id}.{site}",
                name=f"{job.spec.name}/{site}",
                group=job.id,
                job_type=site,
                mode="online" if self._settings.mode == "online" else "offline",
                # A run of its own beside the others; the server itself is not what is watched.
                reinit="create_new",
                resume="allow" if self._settings.mode == "online" else None,
                settings=wandb.Settings(
                    console="off",
                    disable_code=True,
                    disable_git=True,
                    silent=True,
                    x_disable_stats=True,
                    x_disable_machine_info=True,
                    x_save_requirements=False,
                ),
            )
            run.define_metric("*", step_metric=_STEP)
            self._runs[key] = run
        return self._runs[key]

    def _log(self, run: Any, step: int | None, events: Sequence[EventRow]) -> None:
        row: dict[str, Any] = {}
        size = 0
        for event in events:
            if event.kind == EventKind.PARAMETER:
                run.config.update({event.tag: event.text}, allow_val_change=True)
            elif event.kind == EventKind.TAG:
                run.summary[event.tag] = event.text
            else:
                tag, value, more = self._entry(event)
                # Logged twice at one step: both are told.
                if tag in row or size + more > _ROW_BYTES:
                    run.log(row)
                    row, size = {}, 0
                row |= {tag: value, _EVENT: event.seq}
                size += more
                if step is not None:
                    row[_STEP] = step
        if row:
            run.log(row)

    def _entry(self, event: EventRow) -> tuple[str, Any, int]:
        """An event's tag and value in a row, and about how many bytes it takes there."""
        if event.value is not None:
            return event.tag, event.value, 0
        png = png_in(self._blobs, event)
        if png is not None and (image := _image(png)) is not None:
            tag = shortened(event.tag, _FILE_BYTES)
            return tag, image, png.width * png.height * png.channels
        text = whole_text(self._blobs, event)
        return event.tag, text, len(text)


def _end_core() -> None:
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child.name() == _CORE:
                _log.warning("wandb has not sent all, wandb sync can pid=%d", child.pid)
                child.kill()


def _image(png: Png) -> Any | None:
    """As wandb takes it; None for a file that is damaged."""
    from PIL import Image  # what wandb itself needs for an image

    try:
        opened = Image.open(io.BytesIO(png.file), formats=["PNG"])
        opened.load()
    except Exception as error:  # noqa: BLE001 - of many types, and none of them may hold others up
        _log.warning("an image cannot be read error=%s", error)
        return None
    return wandb.Image(opened)
