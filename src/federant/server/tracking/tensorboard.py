"""TensorBoard: an event file for each site of each job, written with tensorboard's own records.

Each event is in its file once, also after a kill: the note of how far the sink is holds the file's
length, and what lies behind it is cut off before the next events are written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

from federant.link.messages import EventKind
from federant.server.blobs import BlobStore
from federant.server.state import EventRow, JobRow

from .base import Place, Sink, by_site, whole_text
from .images import Png, png_in
from .settings import TensorBoardSettings

_VERSION: Final = "brain.Event:2"
_TEXT_PLUGIN: Final = "text"


class TensorBoardSink(Sink):
    """``<folder>/<job>/<site>/events.out.tfevents.*``: TensorBoard shows a run a site.

    An event without a step has its number in the job as step. Parameters and tags become texts.
    """

    def __init__(self, settings: TensorBoardSettings, blobs: BlobStore) -> None:
        self._folder = settings.folder
        self._blobs = blobs

    def write(self, job: JobRow, events: Sequence[EventRow], place: Place) -> Place:
        sizes: dict[str, int] = dict(place)
        for site, told in by_site(events).items():
            file = self._folder / job.id / site / _file_name(job)
            sizes[site] = _append(file, sizes.get(site, 0), job.created, map(self._event, told))
        return sizes

    def _event(self, event: EventRow) -> Any:
        step = event.seq if event.step is None else event.step
        return Event(wall_time=event.time, step=step, summary=Summary(value=[self._value(event)]))

    def _value(self, event: EventRow) -> Any:
        if event.value is not None:
            return Summary.Value(tag=event.tag, simple_value=event.value)
        if (image := png_in(self._blobs, event)) is not None:
            return Summary.Value(tag=event.tag, image=_image(image))
        prefix = f"{event.kind.lower()}/" if event.kind != EventKind.TEXT else ""
        text = whole_text(self._blobs, event).encode()
        return Summary.Value(
            tag=f"{prefix}{event.tag}/text_summary",
            metadata=SummaryMetadata(
                plugin_data=SummaryMetadata.PluginData(plugin_name=_TEXT_PLUGIN)
            ),
            tensor=TensorProto(
                dtype=DT_STRING,
                string_val=[text],
                tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
            ),
        )


def _file_name(job: JobRow) -> str:
    """The same each time; tensorboard knows its files by the beginning, and sorts by the rest."""
    return f"events.out.tfevents.{int(job.created):010d}.{job.id}"


def _append(file: Path, size: int, created: float, events: Iterable[Any]) -> int:
    """Write behind the first ``size`` bytes, to the disk; returns how many there are now."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    with os.fdopen(descriptor, "r+b") as opened:
        # Of a file that somebody has removed there is less: then it begins anew.
        start = size if opened.seek(0, os.SEEK_END) >= size else 0
        opened.truncate(start)
        opened.seek(start)
        writer = RecordWriter(opened)
        if not start:
            first = Event(wall_time=created, file_version=_VERSION)
            writer.write(first.SerializeToString())
        for event in events:
            writer.write(event.SerializeToString())
        opened.flush()
        os.fsync(opened.fileno())
        return opened.tell()


def _image(png: Png) -> Any:
    return Summary.Image(
        width=png.width,
        height=png.height,
        colorspace=png.channels,
        encoded_image_string=png.file,
    )
