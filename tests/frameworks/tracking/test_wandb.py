"""Runs in wandb's offline mode, read back from the files that ``wandb sync`` sends."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from federant.server.tracking.settings import WandbSettings
from federant.server.tracking.wandb import WandbSink

_BLOCK_BYTES = 32 << 10
_WHOLE, _FIRST, _LAST = 1, 2, 4


def parts(data: bytes) -> Iterator[bytes]:
    """What wandb's file holds: LevelDB's log format behind a header of seven bytes."""
    at, before = 7, b""
    while at + 7 <= len(data):
        left = _BLOCK_BYTES - at % _BLOCK_BYTES
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        part = data[at + 7 : at + 7 + length]
        if len(part) < length:
            return  # it is just being written
        at += 7 + length
        before = part if kind in (_WHOLE, _FIRST) else before + part
        if kind in (_WHOLE, _LAST):
            yield before


def records(folder: Path, run_id: str) -> Iterator[Record]:
    for file in sorted(folder.glob(f"wandb/offline-run-*/run-{run_id}.wandb")):
        for part in parts(file.read_bytes()):
            record = Record()
            record.ParseFromString(part)
            yield record


def finished(folder: Path, run_id: str) -> bool:
    """wandb's own process may write a little longer than finish() waits."""
    return any(record.WhichOneof("record_type") == "exit" for record in records(folder, run_id))


def history(folder: Path, run_id: str) -> list[dict[str, Any]]:
    """The rows that were logged, without what wandb adds of its own."""
    return [
        {
            key: json.loads(item.value_json)
            for item in record.history.item
            if not (key := item.key or "/".join(item.nested_key)).startswith("_")
        }
        for record in records(folder, run_id)
        if record.WhichOneof("record_type") == "history"
    ]


@pytest.fixture
def sink(tmp_path: Path, stage: Any) -> Iterator[WandbSink]:
    sink = WandbSink(WandbSettings(tmp_path / "wandb"), stage.blobs)
    yield sink
    sink.close()


@pytest.mark.timeout(900)
def test_a_run_of_each_site_has_what_was_logged(
    tmp_path: Path, stage: Any, sink: WandbSink, until: Any
) -> None:
    job = stage.job()
    stage.log_everything(job)
    place = stage.feed(sink, job)
    sink.finish(job, place)
    for site in ("site-1", "site-2", "server"):
        until("the end", lambda site=site: finished(tmp_path / "wandb", f"{job.id}.{site}"))
    rows = history(tmp_path / "wandb", f"{job.id}.site-1")
    by_step = [(row.get("step"), row["train/loss"]) for row in rows if "train/loss" in row]
    assert [step for step, _ in by_step] == [0, 1, 2, 3]
    assert [str(value) for _, value in by_step] == ["0.5", "nan", "inf", "0.25"]
    together = {key: value for row in rows for key, value in row.items()}
    assert together["note"] == "hello"
    assert together["empty"] == ""
    assert together["long"] == stage.long_text
    assert (together["sample/width"], together["sample/height"]) == (5, 4)
    assert [row["federant/event"] for row in rows] == sorted(row["federant/event"] for row in rows)
    for site, value in (("site-2", 7.0), ("server", 8.0)):
        (row,) = history(tmp_path / "wandb", f"{job.id}.{site}")
        assert (row["train/loss"], row["step"]) == (value, 1)


@pytest.mark.timeout(900)
def test_what_no_site_should_send_holds_nothing_up(
    tmp_path: Path, stage: Any, sink: WandbSink, until: Any
) -> None:
    job = stage.job()
    stage.log_nonsense(job)
    sink.finish(job, stage.feed(sink, job))
    until("the end", lambda: finished(tmp_path / "wandb", f"{job.id}.site-1"))
    rows = history(tmp_path / "wandb", f"{job.id}.site-1")
    together = {key: value for row in rows for key, value in row.items()}
    assert together["after"] == 1.0
    for tag in ("postscript", "nothing", "cut", "huge"):  # no library has looked at them
        assert together[tag] == "an image"


@pytest.mark.timeout(900)
def test_two_values_at_one_step_are_two_rows(
    tmp_path: Path, stage: Any, sink: WandbSink, metric: Any, until: Any
) -> None:
    job = stage.job()
    stage.store.add_events(
        job.id, "site-1", [metric(1, 1.0, "a"), metric(1, 2.0, "b"), metric(1, 3.0, "a")]
    )
    sink.finish(job, stage.feed(sink, job))
    until("the end", lambda: finished(tmp_path / "wandb", f"{job.id}.site-1"))
    rows = history(tmp_path / "wandb", f"{job.id}.site-1")
    assert [(row.get("a"), row.get("b")) for row in rows] == [(1.0, 2.0), (3.0, None)]


@pytest.mark.timeout(900)
def test_a_service_that_does_not_answer_keeps_no_server_from_ending(
    server: Any, metric: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(240)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        server.config.write_text('[sinks.wandb]\nmode = "online"\n')
        server.start()
        server.log(server.submit("wandb"), metric(1, 1.0))
        with silent.accept()[0]:
            assert server.stop() == 0


@pytest.mark.timeout(900)
def test_a_job_that_names_wandb_is_fed_by_a_server_that_knows_how(
    server: Any, metric: Any, until: Any
) -> None:
    server.config.write_text('[sinks.wandb]\nproject = "p"\n')
    server.start()
    job = server.submit("wandb")
    server.log(job, metric(1, 1.0))
    until("the run", lambda: job.metrics().sinks[0].behind == 0)
    job.stop()
    server.link.report_site_state(job.id, "ended")
    folder = server.folder / "server" / "wandb"
    until("the row", lambda: len(history(folder, f"{job.id}.site-1")) == 1)
    (run,) = (r.run for r in records(folder, f"{job.id}.site-1") if r.HasField("run"))
    assert (run.project, run.run_group, run.display_name) == ("p", job.id, "digits/site-1")
