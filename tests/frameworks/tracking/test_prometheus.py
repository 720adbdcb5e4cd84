"""The page of a real server, read by prometheus_client's own parser."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from federant.link.messages import Event, SinkName
from federant.server.tracking.prometheus import MOST_TAGS, exposition


def samples(server: Any) -> dict[tuple[str, str, str], float]:
    return {
        (sample.name, sample.labels["site"], sample.labels.get("tag", "")): sample.value
        for family in text_string_to_metric_families(server.get("/metrics"))
        for sample in family.samples
    }


@pytest.mark.timeout(900)
def test_the_newest_value_of_each_metric_is_on_the_page(server: Any, metric: Any) -> None:
    server.start()
    job, other = server.submit("prometheus"), server.submit("tensorboard")
    server.log(other, metric(1, 9.0, "other"))
    server.log(job, metric(1, 0.5), metric(2, float("inf")), metric(3, 0.25, 'odd "tag"\n'))
    server.log(job, Event(id="d", kind="DROPPED", tag="trainer", value=7.0))
    expected = {
        ("federant_metric", "site-1", "train/loss"): float("inf"),
        ("federant_metric_step", "site-1", "train/loss"): 2.0,
        ("federant_metric_logged_total", "site-1", "train/loss"): 2.0,
        ("federant_metric", "site-1", 'odd "tag"\n'): 0.25,
        ("federant_metrics_dropped_total", "site-1", ""): 7.0,
    }
    found = samples(server)
    assert {key: found[key] for key in expected} == expected
    assert not any(tag == "other" for _, _, tag in found)
    server.kill()
    server.start()
    assert samples(server) == found


def test_a_site_that_logs_under_ever_new_tags_does_not_fill_the_page(
    stage: Any, metric: Any
) -> None:
    job = stage.job(SinkName.PROMETHEUS)
    stage.store.add_events(job.id, "site-1", [metric(1, 1.0, f"t{n}") for n in range(MOST_TAGS)])
    stage.store.add_events(job.id, "site-1", [metric(1, 1.0, f"u{n}") for n in range(7)])
    stage.store.add_events(job.id, "site-2", [metric(1, 1.0)])
    found = text_string_to_metric_families(exposition(stage.store).decode())
    values = {family.name: family.samples for family in found}
    sites = [sample.labels["site"] for sample in values["federant_metric"]]
    assert (sites.count("site-1"), sites.count("site-2")) == (MOST_TAGS, 1)
    (hidden,) = values["federant_metric_tags_hidden"]
    assert (hidden.labels["site"], hidden.value) == ("site-1", 7.0)
