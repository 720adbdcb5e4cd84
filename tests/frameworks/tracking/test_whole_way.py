"""From a trainer's writer through site and server into event files: all of it, in processes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from federant.demo.federation import TRAINER, LocalFederation

SCRIPT = Path(__file__).with_name("whole_way_trainer.py")
MODEL = {"w": np.zeros(3)}


@pytest.mark.timeout(900)
def test_what_a_trainer_logs_is_in_the_store_and_in_its_event_file(
    tmp_path: Path, until: Any
) -> None:
    command = ["{python}", str(SCRIPT)]
    with LocalFederation(tmp_path / "federation", {"site-1": command}) as federation:
        job = federation.client.submit(
            trainer=TRAINER, sinks=["tensorboard"], initial_model=MODEL, rounds=1, min_sites=1
        )
        view = job.wait(600)
        assert (view.state, view.error) == ("finished", "")
        until("the sink", lambda: job.metrics().sinks[0].behind == 0)
        reply = job.metrics()
        assert reply.dropped == {}
        (loss,) = (row for row in reply.metrics if row.tag == "train/loss")
        assert (loss.site, loss.count, loss.first_step, loss.last_step) == ("site-1", 5000, 0, 4999)
        values = [event.value for event in job.series("train/loss")]
        assert values == [1 / (1 + step) for step in range(5000)]
        by_tag = {e.tag: e for r in _pages(job) for e in r if e.kind != "METRIC"}
        assert by_tag["lr"].text == "0.1"
        assert job.event_bytes(by_tag["note"].seq).decode() == "word " * 10_000
        pixels = imread(io.BytesIO(job.event_bytes(by_tag["sample"].seq)), format="png")
        np.testing.assert_allclose(pixels, np.full((40, 50, 3), 128 / 255), atol=1e-6)
        runs = tmp_path / "federation" / "server" / "tensorboard" / job.id / "site-1"
        found = EventAccumulator(str(runs), size_guidance={"scalars": 0}).Reload()
        assert [event.step for event in found.Scalars("train/loss")] == list(range(5000))
        assert str(found.Scalars("odd")[0].value) == "nan"
        assert found.Images("sample")[0].width == 50


def _pages(job: Any) -> Any:
    after = 0
    while (reply := job.events(after)).events:
        yield reply.events
        after = reply.next
